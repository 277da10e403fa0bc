//! An engine on a thread of its own, with the service that answers conversations.

use crate::args::{ComputeArgs, KeepArgs, ModelArgs};
use crate::model::{Compute, Model, on_engine};
use crate::output::{self, Bytes};
use anyhow::{Context, Result, bail};
use ds4_engine::Engine;
use ds4_engine::backend::Backend;
use ds4_engine::disk::Disk;
use ds4_engine::scheduler::{Handle, Scheduler, SchedulerOptions};
use ds4_server::service::Service;
use ds4_server::wire::ServerFacts;
use ds4_store::{Options, Store};
use ds4_tokenizer::Tokenizer;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Where states and answers are kept on disk.
pub struct Keep(Arc<Store>);

impl Keep {
    /// Opens the store in `dir`, within the limits of `args`.
    ///
    /// # Errors
    /// Another process has it; it cannot be read.
    pub fn open(dir: &Path, args: &KeepArgs) -> ds4_store::Result<Self> {
        let limits = Options { max_bytes: args.kv_disk << 20, min_free: args.kv_min_free << 20, ..Options::default() };
        let store = Store::open(dir, limits)?;
        let (totals, place) = (store.totals(), dir.display());
        output::notice(&format!("{} KV states in {place}, {}", totals.checkpoints, Bytes(totals.bytes)));
        Ok(Self(Arc::new(store)))
    }
}

/// A running engine.
pub struct Host {
    service: Arc<Service>,
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Host {
    /// Loads `model` and starts its engine.
    pub fn start(
        model: Model,
        model_args: &ModelArgs,
        compute: &ComputeArgs,
        options: SchedulerOptions,
        facts: ServerFacts,
        keep: Option<Keep>,
    ) -> Result<Self> {
        let tokenizer = Arc::new(model.tokenizer()?);
        if !tokenizer.has_chat_markers() {
            bail!("the model's vocabulary lacks control tokens of the chat format; `ds4 run --raw` continues texts");
        }
        let compute = Compute::new(model_args, compute);
        on_engine!(model.load(&compute)?, engine => Self::run(engine, tokenizer, options, facts, keep))
    }

    fn run<B: Backend + 'static>(
        engine: Engine<B>,
        tokenizer: Arc<Tokenizer>,
        options: SchedulerOptions,
        facts: ServerFacts,
        keep: Option<Keep>,
    ) -> Result<Self> {
        let mut scheduler = Scheduler::new(engine, options);
        let mut transcripts = Vec::new();
        if let Some(Keep(store)) = &keep {
            let identity = scheduler.engine().identity();
            let of_this =
                store.list().into_iter().filter(|state| state.identity == identity.hash && !state.is_continued);
            // The last used one is remembered longest.
            transcripts = of_this.rev().map(|state| store.tokens(state.key)).collect();
            let backend = scheduler.engine().shared_backend();
            let disk = Disk::start(Arc::clone(store), backend, identity, output::notice);
            scheduler.use_disk(disk.context("the threads for KV states")?);
        }
        let (handle, thread) = Handle::start(scheduler).context("the engine's thread")?;
        let service = Service::new(handle.clone(), tokenizer, facts)?;
        if let Some(Keep(store)) = keep {
            service.keep_answers(store.dir(), store.may_write(), transcripts, output::notice)?;
        }
        Ok(Self { service: Arc::new(service), handle, thread })
    }

    /// What answers.
    pub fn service(&self) -> Arc<Service> {
        Arc::clone(&self.service)
    }

    /// Ends the engine's thread.
    ///
    /// # Errors
    /// It had ended by itself.
    pub fn stop(self) -> Result<()> {
        self.handle.stop();
        if self.thread.join().is_err() {
            bail!("the engine ended early");
        }
        Ok(())
    }
}

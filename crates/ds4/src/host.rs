//! An engine on a thread of its own, with the service that answers conversations.

use crate::args::ComputeArgs;
use crate::model::Model;
use anyhow::{Context, Result, bail};
use ds4_engine::scheduler::{Handle, Scheduler, SchedulerOptions};
use ds4_server::service::Service;
use ds4_server::wire::ServerFacts;
use std::sync::Arc;
use std::thread::JoinHandle;

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
        compute: &ComputeArgs,
        threads: usize,
        options: SchedulerOptions,
        facts: ServerFacts,
    ) -> Result<Self> {
        let tokenizer = Arc::new(model.tokenizer()?);
        if !tokenizer.has_chat_markers() {
            bail!("the model's vocabulary lacks control tokens of the chat format; `ds4 run --raw` continues texts");
        }
        let engine = model.into_engine_for(compute, threads)?;
        let (handle, thread) = Handle::start(Scheduler::new(engine, options)).context("the engine's thread")?;
        let service = Arc::new(Service::new(handle.clone(), tokenizer, facts)?);
        Ok(Self { service, handle, thread })
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

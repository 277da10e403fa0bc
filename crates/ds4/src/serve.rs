//! `ds4 serve`: the engine behind HTTP.

use crate::args::ServeArgs;
use crate::interrupt;
use crate::model::Model;
use crate::output;
use crate::text;
use anyhow::{Context, Result, bail};
use ds4_chat::EffortTable;
use ds4_engine::scheduler::{Handle, Scheduler, SchedulerOptions};
use ds4_server::http::Access;
use ds4_server::service::Service;
use ds4_server::wire::ServerFacts;
use ds4_server::{ServeOptions, serve};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Smallest context for which thinking `max` is honoured (`spec/chat-format.md` §2).
const MAX_EFFORT_CONTEXT: usize = 393_216;

pub fn run(args: ServeArgs) -> Result<ExitCode> {
    let keys = keys(&args)?;
    let model = Model::open(args.model.model.as_deref())?;
    let tokenizer = Arc::new(model.tokenizer()?);
    let specials = tokenizer.specials();
    if [specials.user, specials.assistant, specials.think, specials.think_end, specials.dsml].contains(&None) {
        bail!("the model's vocabulary lacks control tokens of the chat format; it cannot be served");
    }
    let effort = effort_table(&model, args.model.model.as_deref());
    let (compute, share) = (&args.compute, &args.share);
    let engine = model.into_engine_for(compute, args.model.threads)?;
    let options = SchedulerOptions {
        kv_bytes: share.kv_memory << 20,
        queue: share.max_queue,
        pause: Duration::from_millis(share.max_pause),
    };
    let (handle, thread) = Handle::start(Scheduler::new(engine, options)).context("the engine's thread")?;
    let facts = ServerFacts {
        context: compute.ctx,
        effort,
        max_effort_context: MAX_EFFORT_CONTEXT,
        default_max_tokens: args.tokens,
        strict_thinking_sampling: args.strict_thinking_sampling,
    };
    let service = Service::new(handle.clone(), tokenizer, facts)?;
    let service = Arc::new(service);
    let address = SocketAddr::new(args.host, args.port);
    if keys.is_empty() && !args.host.is_loopback() {
        output::notice("no API key is set: everyone who can reach this address can use the server (--api-key-file)");
    }
    let access = Access { keys, cors: args.cors };
    let table = if effort == EffortTable::V0731 { "0731" } else { "preview" };
    let listening = |address| output::notice(&format!("listening on http://{address} (effort table: {table})"));
    let runtime = tokio::runtime::Runtime::new().context("the server's threads")?;
    let served = runtime.block_on(serve(
        service,
        ServeOptions { address, access, trace: args.trace },
        listening,
        asked_to_stop(),
    ));
    handle.stop();
    let ended = thread.join();
    served.with_context(|| {
        format!("cannot serve on {address}: is another server running there, can the trace be written?")
    })?;
    if ended.is_err() {
        bail!("the engine ended early");
    }
    Ok(ExitCode::SUCCESS)
}

/// Resolves at the first Ctrl-C or request to terminate; the second one ends the program.
async fn asked_to_stop() {
    let terminated = async {
        #[cfg(unix)]
        if let Ok(mut signal) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            signal.recv().await;
            return;
        }
        std::future::pending().await
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
    output::notice("ending; running answers have 30 s, Ctrl-C ends at once");
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(i32::from(interrupt::EXIT_CODE));
        }
    });
}

/// Checkpoints of 31 July 2026 and later know other effort texts; the name tells.
fn effort_table(model: &Model, path: Option<&std::path::Path>) -> EffortTable {
    let by_file = path.and_then(|path| path.file_name()?.to_str()).is_some_and(|name| name.contains("0731"));
    let name = model.file.metadata().get("general.name");
    let by_name = matches!(name, Some(ds4_gguf::Value::String(name)) if name.contains("0731"));
    if by_file || by_name { EffortTable::V0731 } else { EffortTable::Preview }
}

fn keys(args: &ServeArgs) -> Result<Vec<String>> {
    let mut keys = args.api_key.clone();
    if let Some(path) = &args.api_key_file {
        let text = text::read_file(path)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let before = keys.len();
        keys.extend(lines.map(str::to_owned));
        if keys.len() == before {
            bail!("{} holds no key; write one a line", path.display());
        }
    }
    if keys.iter().any(String::is_empty) {
        bail!("an API key is empty");
    }
    Ok(keys)
}

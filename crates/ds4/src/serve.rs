//! `ds4 serve`: the engine behind HTTP.

use crate::args::ServeArgs;
use crate::host::{Host, Keep};
use crate::interrupt;
use crate::model::Model;
use crate::output;
use crate::text;
use anyhow::{Context, Result, bail};
use ds4_chat::EffortTable;
use ds4_engine::scheduler::SchedulerOptions;
use ds4_server::http::Access;
use ds4_server::wire::ServerFacts;
use ds4_server::{ServeOptions, serve};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

pub fn run(args: ServeArgs) -> Result<ExitCode> {
    let keys = keys(&args)?;
    let model = Model::open(args.model.model.as_deref())?;
    let (compute, share) = (&args.compute, &args.share);
    let options = SchedulerOptions {
        kv_bytes: share.kv_memory << 20,
        queue: share.max_queue,
        pause: Duration::from_millis(share.max_pause),
    };
    let effort = model.effort_table();
    let facts = ServerFacts {
        context: compute.ctx,
        effort,
        default_max_tokens: args.tokens,
        strict_thinking_sampling: args.strict_thinking_sampling,
    };
    let keep = args.keep.kv_dir.as_deref().map(|dir| Keep::open(dir, &args.keep)).transpose()?;
    let host = Host::start(model, &args.model, compute, options, facts, keep)?;
    let address = SocketAddr::new(args.host, args.port);
    if keys.is_empty() && !args.host.is_loopback() {
        output::notice("no API key is set: everyone who can reach this address can use the server (--api-key-file)");
    }
    let access = Access { keys, cors: args.cors };
    let table = if effort == EffortTable::V0731 { "0731" } else { "preview" };
    let listening = |address| output::notice(&format!("listening on http://{address} (effort table: {table})"));
    let runtime = tokio::runtime::Runtime::new().context("the server's threads")?;
    let served = runtime.block_on(serve(
        host.service(),
        ServeOptions { address, access, trace: args.trace },
        listening,
        asked_to_stop(),
    ));
    let ended = host.stop();
    served.with_context(|| {
        format!("cannot serve on {address}: is another server running there, can the trace be written?")
    })?;
    ended?;
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

//! The listener: connections, their limits, and the way down.

use crate::http::{Access, App, router};
use crate::metrics::Metrics;
use crate::page::Page;
use crate::patience::Patient;
use crate::service::Service;
use crate::trace::Trace;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Most connections at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;
/// Most bytes of a request's head, and of what is read at once.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Time for a request's head to arrive: a connection that sends nothing ends then.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Time without progress after which a client that does not read is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time that running answers have to end when the server is told to stop.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// Where to listen and who may come.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Address.
    pub address: SocketAddr,
    /// Who may use the server.
    pub access: Access,
    /// File for requests, prompts and answers.
    pub trace: Option<PathBuf>,
}

/// Serves until `stop` resolves, then lets running answers end for a while. On a loopback address, a request must name a
/// local host. `listening` is told the address.
///
/// # Errors
/// The address cannot be bound, the trace file cannot be written.
pub async fn serve(
    service: Arc<Service>,
    options: ServeOptions,
    listening: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let listener = TcpListener::bind(options.address).await?;
    let trace = options.trace.as_deref().map(Trace::create).transpose()?;
    let app = Arc::new(App {
        service,
        local_hosts_only: options.address.ip().is_loopback(),
        access: options.access,
        metrics: Metrics::new().map_err(std::io::Error::other)?,
        page: Page::default(),
        trace,
        closing: AtomicBool::new(false),
    });
    listening(listener.local_addr()?);
    let routes = TowerToHyperService::new(router(Arc::clone(&app)));
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accept = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, stream) = tokio::select! {
            () = &mut stop => break,
            (slot, accepted) = accept => match accepted {
                Ok((stream, _)) => (slot, stream),
                // Out of file handles, or a client that was quicker gone.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        // Tokens are small and urgent.
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(Patient::new(stream, WRITE_TIMEOUT)), routes.clone());
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            // A client that breaks off is no failure of ours.
            let _ = connection.await;
            drop(slot);
        });
    }
    app.closing.store(true, Ordering::Release);
    drop(listener);
    let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, connections.shutdown()).await;
    Ok(())
}

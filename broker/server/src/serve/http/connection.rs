//! One HTTP connection: one request and its answer.
//!
//! hyper reads and writes; it is given any stream, so that TLS can come in between.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::{HTTP_HEAD_LEN_MAX, HealthSource, answer};

/// Serves one connection to its end.
pub(super) async fn serve<S>(stream: S, source: Arc<dyn HealthSource>, time_max: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request| {
        let source = source.clone();
        async move { Ok::<_, Infallible>(answer::answer(&request, &*source, time_max).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(time_max)
        .max_buf_size(HTTP_HEAD_LEN_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(time_max * 2, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection ended badly"),
        Err(_) => tracing::debug!("an HTTP client took its answer too slowly"),
    }
}

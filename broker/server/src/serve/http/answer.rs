//! What is answered to which path.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use sampan_cluster::Health;
use tokio::time::timeout;

use super::{HealthSource, metrics};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// The text format of Prometheus.
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The answer to a request, whose body is not looked at.
pub(super) async fn answer<B>(
    request: &Request<B>,
    source: &dyn HealthSource,
    time_max: Duration,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !["/livez", "/readyz", "/quorum", "/metrics"].contains(&path) {
        return text(StatusCode::NOT_FOUND, "not found");
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/livez" => health(source.live()),
        "/readyz" => health(source.ready()),
        "/quorum" => health(source.quorum()),
        _ => figures(source, time_max).await,
    }
}

fn health(health: Health) -> Response<Full<Bytes>> {
    match health {
        Health::Yes => text(StatusCode::OK, "ok"),
        Health::No(reason) => text(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

async fn figures(source: &dyn HealthSource, time_max: Duration) -> Response<Full<Bytes>> {
    let Ok(figures) = timeout(time_max, source.metrics()).await else {
        let reason = "the node did not tell its figures in time";
        return text(StatusCode::SERVICE_UNAVAILABLE, reason);
    };
    let text = metrics::render(source, figures);
    response(StatusCode::OK, METRICS, text)
}

fn text(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    response(status, TEXT, format!("{line}\n"))
}

fn response(status: StatusCode, content: HeaderValue, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

//! Routes, and what stands in front of them: keys, the Host check, limits.

use crate::anthropic;
use crate::api::Api;
use crate::error::ApiError;
use crate::limits::BODY_BYTES_MAX;
use crate::metrics::Metrics;
use crate::openai;
use crate::page::Page;
use crate::responses::Responses;
use crate::service::{Events, Service};
use crate::trace::Trace;
use crate::turn::Event;
use crate::wire::{Encoder, Outcome, Sse, Stamp, random_id};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, MatchedPath, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use ds4_tokenizer::TokenId;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use subtle::ConstantTimeEq;

/// Time for a request's body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(120);

/// Silence after which a stream says that it is alive. Clients' watchdogs wait a minute and more.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Who may use the server.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Keys of which one must be sent; none: everyone may.
    pub keys: Vec<String>,
    /// Let web pages of every origin use the server.
    pub cors: bool,
}

/// What the routes work with.
pub struct App {
    pub(crate) service: Arc<Service>,
    pub(crate) access: Access,
    /// Refuse requests whose Host is not this machine: a web page could send them by a name of its own (DNS rebinding).
    pub(crate) local_hosts_only: bool,
    pub(crate) metrics: Metrics,
    pub(crate) page: Page,
    pub(crate) trace: Option<Trace>,
    /// Refuse new requests.
    pub(crate) closing: AtomicBool,
}

type Shared = State<Arc<App>>;

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/health", get(|| async { json_response(200, &json!({"status": "ok"})) }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/models", get(models))
        .route("/v1/models/{id}", get(model))
        .route("/v1/chat/completions", post(generate::<openai::Chat>))
        .route("/v1/completions", post(generate::<openai::Completion>))
        .route("/v1/responses", post(generate::<Responses>))
        .route("/v1/messages", post(generate::<anthropic::Messages>))
        .route("/v1/messages/count_tokens", post(count_tokens))
        .route("/apply-template", post(apply_template))
        .route("/tokenize", post(tokenize))
        .route("/detokenize", post(detokenize))
        .fallback(|request: Request| async move {
            let path = request.uri().path();
            refuse(path, &ApiError::NotFound(format!("unknown endpoint {path}")))
        })
        .method_not_allowed_fallback(|request: Request| async move {
            let message = format!("{} is not a method of this endpoint", request.method());
            refuse(request.uri().path(), &ApiError::Method(message))
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard))
        .with_state(app)
}

/// Names a request in answers' headers and in the trace.
#[derive(Clone)]
struct RequestId(String);

/// Checks who asks, and by which name, before anything is read.
async fn guard(State(app): Shared, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("other".to_owned(), |path| path.as_str().to_owned());
    let id = random_id();
    request.extensions_mut().insert(RequestId(id.clone()));
    let begin = Instant::now();
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        match check(&app, &request) {
            Ok(()) => next.run(request).await,
            Err(error) => refuse(request.uri().path(), &error),
        }
    };
    app.metrics.answered(&route, response.status().as_u16(), begin.elapsed());
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert("x-request-id", id.clone());
        headers.insert("request-id", id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if app.access.cors {
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "*, Authorization"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

/// How the paths of Anthropic's API begin.
const MESSAGES_PATH: &str = "/v1/messages";

/// Paths that need no key: what says nothing about anybody.
const OPEN_PATHS: [&str; 3] = ["/", "/health", "/ready"];

fn check(app: &App, request: &Request) -> Result<(), ApiError> {
    if app.local_hosts_only {
        let host = request.uri().host().map(str::to_owned).or_else(|| {
            let value = request.headers().get(header::HOST)?.to_str().ok()?;
            Some(host_name(value).to_owned())
        });
        if !host.as_deref().is_some_and(is_local) {
            let message = "this server answers only by the names of the local machine, such as 127.0.0.1 or localhost";
            return Err(ApiError::Forbidden(message.to_owned()));
        }
    }
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let keys = &app.access.keys;
    if keys.is_empty() || OPEN_PATHS.contains(&request.uri().path()) {
        return Ok(());
    }
    let sent = key(request.headers()).ok_or(ApiError::Unauthorized)?;
    // Every key is compared, in time that does not depend on where they differ.
    let is_known = keys.iter().fold(false, |known, key| known | bool::from(key.as_bytes().ct_eq(sent.as_bytes())));
    if is_known { Ok(()) } else { Err(ApiError::Unauthorized) }
}

fn key(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer.or_else(|| headers.get("x-api-key")?.to_str().ok())
}

/// A Host without its port.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    }
}

fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A refusal in the form of the API that `path` belongs to, OpenAI's where it belongs to none.
fn refuse(path: &str, error: &ApiError) -> Response {
    if path.starts_with(MESSAGES_PATH) {
        error_response::<anthropic::Messages>(error)
    } else {
        error_response::<openai::Chat>(error)
    }
}

fn error_response<A: Api>(error: &ApiError) -> Response {
    let mut response = json_response(error.status(), &A::error(error));
    if matches!(error, ApiError::Busy(_)) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn json_response(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// A body, or why there is none. The limit acts while it is read.
async fn read(request: Request) -> Result<Bytes, ApiError> {
    let late = |_| ApiError::invalid(format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs()));
    let body = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, &())).await.map_err(late)?;
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => ApiError::invalid("the body could not be read"),
    })
}

fn too_large() -> ApiError {
    ApiError::TooLarge(format!("the body has more than {BODY_BYTES_MAX} bytes"))
}

/// Runs what takes long for long prompts on a thread where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let failed = |_| ApiError::Internal("the request could not be processed".to_owned());
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

/// Answers a request of an API that generates.
async fn generate<A: Api>(State(app): Shared, request: Request) -> Response {
    let id = request.extensions().get().map_or_else(random_id, |RequestId(id)| id.clone());
    let path = request.uri().path().to_owned();
    match start::<A>(&app, request, &id, path).await {
        Ok((asked, events)) => {
            let stamp = Stamp { id: random_id(), created: now() };
            if asked.streams() {
                stream(app, id, asked.encoder(stamp), events)
            } else {
                complete(&app, &id, &asked, stamp, events).await
            }
        }
        Err(error) => error_response::<A>(&error),
    }
}

async fn start<A: Api>(app: &Arc<App>, request: Request, id: &str, path: String) -> Result<(A, Events), ApiError> {
    let body = read(request).await?;
    if app.closing.load(Ordering::Acquire) {
        return Err(ApiError::Unavailable("the server is shutting down".to_owned()));
    }
    let (app, id) = (Arc::clone(app), id.to_owned());
    blocking(move || {
        let service = &app.service;
        if let Some(trace) = &app.trace {
            trace.request(&id, &path, &body);
        }
        let asked = A::parse(&body, service.facts())?;
        let events = service.start(asked.turn(), A::PROMPT)?;
        if let Some(trace) = &app.trace {
            let ids: Vec<TokenId> = events.prompt().iter().copied().map(TokenId).collect();
            trace.prompt(&id, ids.len(), &service.tokenizer().decode(&ids));
        }
        Ok((asked, events))
    })
    .await
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

async fn complete<A: Api>(app: &App, id: &str, asked: &A, stamp: Stamp, mut events: Events) -> Response {
    let mut outcome = Outcome::default();
    let mut clock = app.metrics.clock();
    while let Some(event) = events.next().await {
        clock.see(&app.metrics, &event);
        outcome.add(event);
    }
    if let Some(trace) = &app.trace {
        trace.answer(id, &outcome);
    }
    let is_whole = outcome.choices.len() == asked.turn().choices as usize
        && outcome.choices.iter().all(|choice| choice.finish.is_some());
    match outcome.failure.clone() {
        None if is_whole => json_response(200, &asked.complete(&stamp, &outcome)),
        failure => {
            error_response::<A>(&ApiError::Internal(failure.unwrap_or_else(|| "the engine has stopped".to_owned())))
        }
    }
}

/// State of a stream between two pieces of its body.
struct Streaming {
    app: Arc<App>,
    encoder: Box<dyn Encoder>,
    events: Events,
    clock: crate::metrics::Clock,
    /// What was said, for the trace.
    outcome: Option<(String, Outcome)>,
    is_over: bool,
}

impl Drop for Streaming {
    fn drop(&mut self) {
        if let (Some(trace), Some((id, outcome))) = (&self.app.trace, &self.outcome) {
            trace.answer(id, outcome);
        }
    }
}

fn stream(app: Arc<App>, id: String, encoder: Box<dyn Encoder>, events: Events) -> Response {
    let clock = app.metrics.clock();
    let outcome = app.trace.as_ref().map(|_| (id, Outcome::default()));
    let state = Streaming { app, encoder, events, clock, outcome, is_over: false };
    let body = futures_util::stream::unfold(state, |mut state| async move {
        if state.is_over {
            return None;
        }
        let mut sse = Sse::default();
        // Events that write nothing, such as reasoning that is not shown, are silence too.
        let deadline = tokio::time::Instant::now() + KEEP_ALIVE;
        loop {
            match tokio::time::timeout_at(deadline, state.events.next()).await {
                Err(_) => return Some((Ok::<_, std::convert::Infallible>(state.encoder.keep_alive().into()), state)),
                Ok(Some(event)) => {
                    state.clock.see(&state.app.metrics, &event);
                    state.is_over |= matches!(event, Event::Failed(_));
                    if let Some((_, outcome)) = &mut state.outcome {
                        outcome.add(event.clone());
                    }
                    state.encoder.event(event, &mut sse);
                }
                Ok(None) => {
                    state.is_over = true;
                    if !state.clock.is_complete() {
                        state.encoder.event(Event::Failed("the engine has stopped".to_owned()), &mut sse);
                    }
                }
            }
            let text = sse.take();
            if !text.is_empty() || state.is_over {
                return Some((Ok(text), state));
            }
        }
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(body)).into_response()
}

async fn page(State(app): Shared) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, app.page.policy())];
    (headers, app.page.text()).into_response()
}

async fn ready(State(app): Shared) -> Response {
    if app.closing.load(Ordering::Acquire) {
        return error_response::<openai::Chat>(&ApiError::Unavailable("the server is shutting down".to_owned()));
    }
    json_response(200, &json!({"status": "ready"}))
}

async fn metrics(State(app): Shared) -> Response {
    let text = app.metrics.text(&app.service.stats());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

async fn models(State(app): Shared) -> Response {
    json_response(200, &openai::models::list(app.service.facts()))
}

async fn model(State(app): Shared, Path(id): Path<String>) -> Response {
    json_response(200, &openai::models::one(app.service.facts(), &id))
}

/// Answers with what `work` makes of the body.
async fn answer<A: Api>(
    app: Arc<App>,
    request: Request,
    work: fn(&Service, &[u8]) -> Result<Value, ApiError>,
) -> Response {
    let result = async {
        let body = read(request).await?;
        blocking(move || work(&app.service, &body)).await
    };
    result.await.map_or_else(|error| error_response::<A>(&error), |value| json_response(200, &value))
}

/// How long the prompt of a message would be.
async fn count_tokens(State(app): Shared, request: Request) -> Response {
    answer::<anthropic::Messages>(app, request, |service, body| {
        let asked = anthropic::Messages::parse(body, service.facts())?;
        Ok(json!({"input_tokens": service.prompt_tokens(asked.turn())?.len()}))
    })
    .await
}

/// The prompt that a chat request would make, as text and tokens.
async fn apply_template(State(app): Shared, request: Request) -> Response {
    answer::<openai::Chat>(app, request, |service, body| {
        let asked = openai::Chat::parse(body, service.facts())?;
        let tokens = service.prompt_tokens(asked.turn())?;
        let ids: Vec<TokenId> = tokens.iter().copied().map(TokenId).collect();
        Ok(json!({"prompt": service.tokenizer().decode(&ids), "tokens": tokens}))
    })
    .await
}

async fn tokenize(State(app): Shared, request: Request) -> Response {
    answer::<openai::Chat>(app, request, |service, body| openai::text::tokenize(body, service.tokenizer())).await
}

async fn detokenize(State(app): Shared, request: Request) -> Response {
    answer::<openai::Chat>(app, request, |service, body| openai::text::detokenize(body, service.tokenizer())).await
}

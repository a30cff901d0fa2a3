//! Traces: a span per request and per step, sent to a collector by OTLP over HTTP, joined to the
//! client's `traceparent`.
//!
//! A span is made from the [`Trail`] after its request has ended, so tracing does not delay a
//! request. Spans wait in a bounded queue for a separate thread. If the collector is down they are
//! dropped.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use jiff::Timestamp;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    Span as _, SpanId, SpanKind, Status, TraceContextExt as _, TraceId, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, IdGenerator, SdkTracer, SdkTracerProvider};
use sts_jose::{Entropy, HttpClientError, Sender};
use thiserror::Error;
use tokio::runtime::Handle;
use url::Url;

use super::metrics::{Decision, Endpoint, Metrics, RequestOutcome};
use super::trail::{StepTime, Trail};

/// The maximum number of waiting spans; further spans are dropped.
const QUEUE: usize = 8_192;
/// The maximum number of spans in an export.
const BATCH: usize = 512;
/// The time that a span waits for a batch to fill.
const DELAY: Duration = Duration::from_secs(1);
/// The time that a shutdown waits for the last spans to be sent.
const FLUSH: Duration = Duration::from_secs(3);
/// The path of traces below a collector's endpoint (OTLP 1.0, section "OTLP/HTTP Request").
const PATH: &str = "v1/traces";

/// The exporter of traces. Does nothing without an endpoint.
#[derive(Debug, Clone, Default)]
pub struct Traces {
    to: Option<Arc<Exporting>>,
}

#[derive(Debug)]
struct Exporting {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// A failure to set up the export of traces.
#[derive(Debug, Error)]
pub enum TracesError {
    /// The HTTP client could not be created.
    #[error("failed to create the HTTP client for traces")]
    Http(#[from] HttpClientError),
    /// The exporter rejected the configuration.
    #[error("failed to create the exporter of traces")]
    Exporter(#[from] ExporterBuildError),
}

/// The content of the trace of a request.
#[derive(Debug, Clone, Copy)]
pub struct ObservedRequest<'a> {
    /// The endpoint of the request.
    pub endpoint: Endpoint,
    /// The time at which the request started.
    pub begun_at: Timestamp,
    /// The headers, of which `traceparent` and `tracestate` are read (W3C Trace Context).
    pub headers: &'a HeaderMap,
    /// The correlation id, which joins requests of the same user request.
    pub correlation_id: &'a str,
    /// The steps of the request.
    pub trail: &'a Trail,
    /// The decision on the request.
    pub decision: Decision,
    /// The duration of the request.
    pub took: Duration,
}

/// Checks the URL of a collector: `http` or `https`, a host, no user, no password, no query, no
/// fragment.
///
/// # Errors
/// The required form of the URL.
pub fn check_otlp_endpoint(text: &str) -> Result<Url, &'static str> {
    let wanted = "must be an http(s) URL without user, query or fragment, such as \"http://127.0.0.1:4318\"";
    let url: Url = text.parse().or(Err(wanted))?;
    let is_plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain { Ok(url) } else { Err(wanted) }
}

impl Traces {
    /// Sends traces to the collector at `endpoint`; without an endpoint nothing is sent. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// [`TracesError`] for an unusable configuration. An unreachable collector is not an error,
    /// because it may come back.
    pub fn start(endpoint: Option<&Url>, entropy: &Arc<dyn Entropy>, metrics: &Metrics) -> Result<Self, TracesError> {
        let Some(endpoint) = endpoint else { return Ok(Self::default()) };
        let client = Collector {
            sender: Sender::new()?,
            runtime: Handle::current(),
            metrics: metrics.clone(),
            failing: AtomicBool::new(false),
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/{PATH}", endpoint.as_str().trim_end_matches('/')))
            .with_timeout(FLUSH)
            .build()?;
        let waits = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(DELAY)
            .build();
        let resource = Resource::builder()
            .with_service_name("sts-server")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(waits).build())
            .with_id_generator(Ids(Arc::clone(entropy)))
            .with_resource(resource)
            .build();
        let tracer = provider.tracer("sts-server");
        Ok(Self { to: Some(Arc::new(Exporting { provider, tracer })) })
    }

    /// Records a request that has ended. Does not block.
    pub fn request(&self, request: &ObservedRequest<'_>) {
        let Some(exporting) = &self.to else { return };
        let tracer = &exporting.tracer;
        let caller =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(request.headers));
        let begun_at = SystemTime::UNIX_EPOCH
            + Duration::from_micros(u64::try_from(request.begun_at.as_microsecond()).unwrap_or(0));
        let attributes = [
            KeyValue::new("correlation_id", request.correlation_id.to_owned()),
            KeyValue::new("endpoint", request.endpoint.name()),
            KeyValue::new("grant", request.trail.grant().name()),
            KeyValue::new("outcome", request.decision.outcome.name()),
            KeyValue::new("reason", request.decision.reason()),
        ];
        let mut span = tracer
            .span_builder(span_name(request.endpoint))
            .with_kind(SpanKind::Server)
            .with_start_time(begun_at)
            .with_attributes(attributes)
            .start_with_context(tracer, &caller);
        if request.decision.outcome == RequestOutcome::Unavailable {
            span.set_status(Status::error(request.decision.reason()));
        }
        if !span.is_recording() {
            return;
        }
        let inside = caller.with_remote_span_context(span.span_context().clone());
        for StepTime { step, begun, took } in request.trail.steps(request.took) {
            let mut child = tracer
                .span_builder(step.name())
                .with_kind(SpanKind::Internal)
                .with_start_time(begun_at + begun)
                .start_with_context(tracer, &inside);
            child.end_with_timestamp(begun_at + begun + took);
        }
        span.end_with_timestamp(begun_at + request.took);
    }

    /// Sends the waiting spans, for at most 3 seconds, and then stops.
    pub async fn stop(&self) {
        let Some(exporting) = self.to.clone() else { return };
        let ended = tokio::task::spawn_blocking(move || exporting.provider.shutdown_with_timeout(FLUSH)).await;
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "failed to send the last traces"),
            Err(error) => tracing::warn!(%error, "failed to send the last traces"),
        }
    }
}

fn span_name(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Token => "sts.token",
        Endpoint::Introspect => "sts.introspect",
        Endpoint::Revoke => "sts.revoke",
        Endpoint::Admin => "sts.admin",
        Endpoint::Approvals => "sts.approvals",
    }
}

/// The HTTP client of the collector. The sending thread has no runtime, so the server's runtime
/// sends.
struct Collector {
    sender: Sender,
    runtime: Handle,
    metrics: Metrics,
    failing: AtomicBool,
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let sender = self.sender.clone();
        let sent = self.runtime.spawn(async move { sender.send(request).await }).await;
        let outcome: Result<http::Response<Bytes>, HttpError> = match sent {
            Ok(Ok(response)) if response.status().is_success() => Ok(response),
            Ok(Ok(response)) => {
                self.failed(&format!("status {}", response.status().as_u16()));
                return Ok(response);
            }
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        };
        match &outcome {
            Ok(_) => self.failing.store(false, Ordering::Relaxed),
            Err(error) => self.failed(&error.to_string()),
        }
        outcome
    }
}

impl Collector {
    /// Counts a failure, and logs it only if the previous export succeeded.
    fn failed(&self, error: &str) {
        self.metrics.trace_failed();
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(error, "the collector rejected a batch of traces");
        }
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

/// The generator of trace and span identifiers, from the server's source of randomness.
#[derive(Debug)]
struct Ids(Arc<dyn Entropy>);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        let mut bytes = [0; 16];
        self.0.fill(&mut bytes);
        TraceId::from_bytes(bytes)
    }

    fn new_span_id(&self) -> SpanId {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        SpanId::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_http_url_and_holds_no_password() {
        let rows = [
            ("http://127.0.0.1:4318", true),
            ("https://collector.example/otlp/", true),
            ("127.0.0.1:4318", false),
            ("grpc://collector:4317", false),
            ("http://user:secret@collector:4318", false),
            ("http://collector:4318/?key=secret", false),
            ("", false),
        ];
        for (text, fits) in rows {
            assert_eq!(check_otlp_endpoint(text).is_ok(), fits, "{text}");
        }
    }
}

//! Traces: a span for each question and for each step of sts-client, sent to a collector by OTLP over
//! HTTP, joined to the `traceparent` of the request that the question is about.
//!
//! Spans wait in a bounded queue for a separate thread. If the collector is down they are dropped.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{SpanId, TraceId, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, IdGenerator, SdkTracer, SdkTracerProvider};
use sts_client::Entropy;
use sts_jose::{HttpClientError, Sender};
use thiserror::Error;
use tokio::runtime::Handle;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::registry::LookupSpan;
use url::Url;

use crate::header_pairs::HeaderPairs;

/// The maximum number of waiting spans; further spans are dropped.
const QUEUE: usize = 8_192;
/// The maximum number of spans in an export.
const BATCH: usize = 512;
/// The time that a span waits for a batch to fill.
const DELAY: Duration = Duration::from_secs(1);
/// The time that the end of the process waits for the last spans to be sent.
const FLUSH: Duration = Duration::from_secs(3);
/// The path of traces below a collector's endpoint (OTLP 1.0, section "OTLP/HTTP Request").
const PATH: &str = "v1/traces";

/// The export of traces.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
}

/// The export of traces cannot be set up.
#[derive(Debug, Error)]
pub enum TracesError {
    /// The HTTP client could not be created.
    #[error("failed to create the HTTP client for traces")]
    Http(#[from] HttpClientError),
    /// The exporter rejected the configuration.
    #[error("failed to create the exporter of traces")]
    Exporter(#[from] ExporterBuildError),
}

impl Traces {
    /// Sends spans to the collector at `endpoint`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`TracesError`]. An unreachable collector is not an error, because it may come back.
    pub fn start(endpoint: &Url, entropy: Arc<dyn Entropy>) -> Result<Self, TracesError> {
        let client = Collector { sender: Sender::new()?, runtime: Handle::current(), failing: AtomicBool::new(false) };
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
            .with_service_name("sts-agent")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(waits).build())
            .with_id_generator(Ids(entropy))
            .with_resource(resource)
            .build();
        Ok(Self { provider })
    }

    /// Returns the layer that exports the spans of `tracing`.
    pub fn layer<S>(&self) -> OpenTelemetryLayer<S, SdkTracer>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        // The reader of a trace has no use for lines of the code.
        let layer = tracing_opentelemetry::layer().with_location(false).with_threads(false).with_target(false);
        // A question learns its parent after its span has been entered.
        layer.with_context_activation(false).with_tracer(self.provider.tracer("sts-agent"))
    }

    /// Sends the waiting spans, for at most 3 seconds, and then stops.
    pub fn stop(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH) {
            tracing::warn!(%error, "failed to send the last traces");
        }
    }
}

/// Joins the span of the current question to the trace of the first of these requests that is in one
/// (W3C Trace Context).
pub(crate) fn join<'r>(requests: impl IntoIterator<Item = &'r HeaderPairs>) {
    let in_trace = requests.into_iter().map(Pairs).find(|request| request.get("traceparent").is_some());
    if let Some(request) = in_trace {
        let caller = TraceContextPropagator::new().extract_with_context(&Context::new(), &request);
        // It fails without a collector.
        let _untraced = Span::current().set_parent(caller);
    }
}

/// The headers of a request.
struct Pairs<'r>(&'r HeaderPairs);

impl Extractor for Pairs<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|[header, _]| header.eq_ignore_ascii_case(name)).map(|[_, value]| value.as_str())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|[name, _]| name.as_str()).collect()
    }
}

/// The HTTP client of the collector. The sending thread has no runtime, so that of the process sends.
struct Collector {
    sender: Sender,
    runtime: Handle,
    failing: AtomicBool,
}

#[tonic::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: ::http::Request<Bytes>) -> Result<::http::Response<Bytes>, HttpError> {
        let sender = self.sender.clone();
        let sent = self.runtime.spawn(async move { sender.send(request).await }).await;
        let outcome: Result<::http::Response<Bytes>, HttpError> = match sent {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        };
        let failure = match &outcome {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("status {}", response.status().as_u16())),
            Err(error) => Some(error.to_string()),
        };
        // Said once, until an export succeeds.
        let was_failing = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        if let Some(error) = failure.filter(|_| !was_failing) {
            tracing::warn!(error, "the collector rejected a batch of traces");
        }
        outcome
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

/// The generator of trace and span identifiers, from the source of randomness of the process.
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

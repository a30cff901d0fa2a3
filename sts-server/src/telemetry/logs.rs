//! Logs: one line per event, as plain text or as JSON.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::Deserialize;
use serde_json::{Map, Value};
use sts_jose::error_chain;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{self, Format, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::environment;

/// The default filter, if `STS_LOG` selects no other.
const DEFAULT_FILTER: &str = "info";

/// The message of the event of a refused request.
pub(crate) const REFUSED: &str = "a request was refused";

/// The present format. The configuration sets it, but events may be logged before the
/// configuration is read.
static FORMAT: AtomicU8 = AtomicU8::new(LogFormat::Human as u8);

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// A line of plain text.
    Human,
    /// A JSON object on each line.
    Json,
}

/// The channel that takes refused requests out of the log; see [`divert_refusals`].
static DIVERTED: OnceLock<Sender<LoggedRefusal>> = OnceLock::new();

/// The maximum number of diverted refusals that wait to be read. Later ones are dropped.
const MOST_DIVERTED: usize = 1024;

/// A refused request, as its log event describes it. The texts are those of the client, unescaped.
#[derive(Debug)]
pub struct LoggedRefusal {
    /// The time of day, in UTC.
    pub time: String,
    /// The agent that the request names, authenticated or not.
    pub claimed_client_id: Option<String>,
    /// The stable name of the reason.
    pub reason: String,
    /// The reason in words.
    pub detail: String,
    /// The id that links the request to the audit log.
    pub correlation_id: String,
}

/// Starts logging to standard error. The lines are plain text until [`choose_format`] is called.
///
/// Colours are used only on a terminal, and never if `NO_COLOR` is set. `STS_LOG` selects events,
/// in the syntax of `tracing_subscriber::EnvFilter`.
pub fn start_logs() {
    let chosen = environment::variables().find(|(name, _)| name == "STS_LOG").map(|(_, value)| value);
    let filter = chosen.as_deref().unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_malformed| EnvFilter::new(DEFAULT_FILTER));
    let plain = environment::variables().any(|(name, value)| name == "NO_COLOR" && !value.is_empty());
    let colours = io::stderr().is_terminal() && !plain;
    let format = Chosen { human: format::format() };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(io::stderr)
        .event_format(format)
        .init();
}

/// Sets the format of all later lines in this process's log.
pub fn choose_format(format: LogFormat) {
    FORMAT.store(format as u8, Ordering::Relaxed);
}

/// Takes refused requests out of this process's log and returns a channel that receives them, for
/// a command that prints them itself. Only the first call of a process diverts them.
pub fn divert_refusals() -> Receiver<LoggedRefusal> {
    let (sender, receiver) = channel(MOST_DIVERTED);
    let _already_diverted = DIVERTED.set(sender);
    receiver
}

struct Chosen {
    human: Format,
}

impl<S, N> FormatEvent<S, N> for Chosen
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if let Some(diverted) = DIVERTED.get()
            && let Some(refusal) = refusal(event)?
        {
            let _full_or_closed = diverted.try_send(refusal);
            return Ok(());
        }
        if FORMAT.load(Ordering::Relaxed) == LogFormat::Json as u8 {
            return write_json(writer, event);
        }
        self.human.format_event(context, writer, event)
    }
}

/// Returns the refused request that an event is about, if it is about one.
fn refusal(event: &Event<'_>) -> Result<Option<LoggedRefusal>, fmt::Error> {
    let mut object = Object::default();
    event.record(&mut object);
    let field = |name: &str| object.0.get(name).and_then(Value::as_str).map(str::to_owned);
    if field("message").as_deref() != Some(REFUSED) {
        return Ok(None);
    }
    let mut at = String::new();
    SystemTime.format_time(&mut Writer::new(&mut at))?;
    Ok(Some(LoggedRefusal {
        time: at.get(11..19).unwrap_or(&at).to_owned(),
        claimed_client_id: field("claimed_client_id"),
        reason: field("reason").unwrap_or_default(),
        detail: field("detail").unwrap_or_default(),
        correlation_id: field("correlation_id").unwrap_or_default(),
    }))
}

/// Writes `at`, `level`, `target`, `message` and the event's own fields as a single object.
fn write_json(mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
    let mut at = String::new();
    SystemTime.format_time(&mut Writer::new(&mut at))?;
    let mut object = Object::default();
    event.record(&mut object);
    let mut line = Map::new();
    line.insert("at".to_owned(), at.into());
    line.insert("level".to_owned(), event.metadata().level().as_str().to_ascii_lowercase().into());
    line.insert("target".to_owned(), event.metadata().target().into());
    line.insert("message".to_owned(), object.0.remove("message").unwrap_or_default());
    line.extend(object.0);
    writeln!(writer, "{}", Value::Object(line))
}

/// The fields of an event, as JSON.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Object {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    /// Joins an error and its causes.
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, error_chain(value));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    struct JsonOnly;

    impl<S, N> FormatEvent<S, N> for JsonOnly
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
        N: for<'a> FormatFields<'a> + 'static,
    {
        fn format_event(&self, _: &FmtContext<'_, S, N>, writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
            write_json(writer, event)
        }
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_json_line_has_the_fields_and_all_causes_of_an_error() {
        let written = Shared::default();
        let sink = written.clone();
        let subscriber = tracing_subscriber::fmt().event_format(JsonOnly).with_writer(move || sink.clone()).finish();
        let error = io::Error::other("unknown log format");
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                reason = "a\n\"b\"",
                decisions = 3,
                "it {}",
                "failed"
            );
        });
        let bytes = written.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let mut line: Value = serde_json::from_str(&text).unwrap();
        assert!(line["at"].take().as_str().unwrap().ends_with('Z'));
        assert!(line["target"].take().as_str().unwrap().ends_with("logs::tests"));
        let expected = serde_json::json!({
            "at": null, "level": "warn", "target": null, "message": "it failed", "error": "unknown log format",
            "reason": "a\n\"b\"", "decisions": 3,
        });
        assert_eq!(line, expected);
    }
}

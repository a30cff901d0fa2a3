//! All that the process logs while its tests run.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Mutex, OnceLock};
use std::thread::{self, ThreadId};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What the log levels are: all of ours, and what others say of what they do.
const LEVELS: &str = "debug,sts_server=trace,sts_jose=trace,sts_protocol=trace";

/// The log of the process from the moment on that this was made. What nobody looks at any more is forgotten.
#[derive(Debug)]
pub struct Capture {
    from: usize,
    thread: ThreadId,
}

#[derive(Debug, Default)]
struct Log {
    /// Each line with the thread that wrote it.
    lines: VecDeque<(ThreadId, String)>,
    /// The number of the first line.
    first: usize,
    /// How many captures began at which line.
    open: BTreeMap<usize, usize>,
}

#[derive(Debug, Clone, Copy)]
struct Writer;

static LOG: Mutex<Option<Log>> = Mutex::new(None);

impl Capture {
    /// Begins to capture; the first call of the process installs the subscriber.
    #[must_use]
    pub fn begin() -> Self {
        static INSTALLED: OnceLock<()> = OnceLock::new();
        INSTALLED.get_or_init(|| {
            let filter = EnvFilter::new(LEVELS);
            tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(Writer).init();
        });
        with_log(|log| {
            let from = log.first + log.lines.len();
            *log.open.entry(from).or_default() += 1;
            Self { from, thread: thread::current().id() }
        })
    }

    /// What was logged since; also by tests that ran at the same time.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines(|_| true)
    }

    /// Returns the lines that the thread of this capture has logged. The runtime of a test is that
    /// of its thread, unless the test has several, and so is the server in it.
    #[must_use]
    pub fn own(&self) -> String {
        self.lines(|thread| thread == self.thread)
    }

    fn lines(&self, of: impl Fn(ThreadId) -> bool) -> String {
        with_log(|log| {
            let since = log.lines.iter().skip(self.from.saturating_sub(log.first));
            since.filter(|(thread, _)| of(*thread)).map(|(_, line)| line.as_str()).collect()
        })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        with_log(|log| {
            if let Some(count) = log.open.get_mut(&self.from) {
                *count -= 1;
                if *count == 0 {
                    log.open.remove(&self.from);
                }
            }
            let end = log.first + log.lines.len();
            let keep_from = log.open.keys().next().copied().unwrap_or(end);
            while log.first < keep_from && log.lines.pop_front().is_some() {
                log.first += 1;
            }
        });
    }
}

fn with_log<T>(act: impl FnOnce(&mut Log) -> T) -> T {
    let mut log = LOG.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    act(log.get_or_insert_with(Log::default))
}

impl io::Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        with_log(|log| {
            if !log.open.is_empty() {
                log.lines.push_back((thread::current().id(), String::from_utf8_lossy(line).into_owned()));
            }
        });
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Writer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

//! A small HTTP server on a free port, which can also misbehave in ways that real servers forbid themselves.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What to answer.
pub(crate) enum Reply {
    Body(u16, Vec<u8>),
    Redirect(String),
    /// A body without end.
    Endless,
    /// Half a body, and silence until the client leaves.
    Stall,
}

/// A request that came in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) head: String,
}

type Handler = Box<dyn Fn(&Request) -> Reply + Send>;

/// Lives until the process ends; each test has its own.
pub(crate) struct Server {
    pub(crate) base: String,
    shared: Arc<Shared>,
}

struct Shared {
    requests: Mutex<Vec<Request>>,
    handler: Mutex<Arc<Mutex<Handler>>>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let handler: Handler = Box::new(handler);
        let shared =
            Arc::new(Shared { requests: Mutex::default(), handler: Mutex::new(Arc::new(Mutex::new(handler))) });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared) = (stream.unwrap(), Arc::clone(&accepting));
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { base, shared }
    }

    /// Serves `body` with status 200 under every path.
    pub(crate) fn serving(body: Vec<u8>) -> Self {
        Self::start(move |_| Reply::Body(200, body.clone()))
    }

    /// From now on answers otherwise.
    pub(crate) fn answer(&self, handler: impl Fn(&Request) -> Reply + Send + 'static) {
        let handler: Handler = Box::new(handler);
        *self.shared.handler.lock().unwrap() = Arc::new(Mutex::new(handler));
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.path).collect()
    }
}

fn serve(stream: TcpStream, shared: &Shared) {
    let request = read_request(&stream);
    shared.requests.lock().unwrap().push(request.clone());
    let handler = Arc::clone(&shared.handler.lock().unwrap());
    let reply = handler.lock().unwrap()(&request);
    // A client that hangs up early is what the tests are about, so a failing write is no failure.
    let _ = write_reply(stream, reply);
}

fn read_request(stream: &TcpStream) -> Request {
    let mut head = String::new();
    let mut reader = BufReader::new(stream);
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let authorization = head.lines().find_map(|line| line.strip_prefix("authorization: ")).map(str::to_owned);
    Request { path, authorization, head }
}

fn write_reply(mut stream: TcpStream, reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::Body(status, body) => {
            write!(stream, "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len())?;
            stream.write_all(&body)
        }
        Reply::Redirect(to) => {
            write!(stream, "HTTP/1.1 302 X\r\nconnection: close\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        }
        Reply::Endless => {
            write!(stream, "HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")?;
            loop {
                write!(stream, "1000\r\n{}\r\n", " ".repeat(0x1000))?;
            }
        }
        Reply::Stall => {
            write!(stream, "HTTP/1.1 200 X\r\ncontent-length: 1000\r\n\r\n{{\"keys\"")?;
            stream.read_to_end(&mut Vec::new()).map(|_| ())
        }
    }
}

//! An HTTP request to a server on this machine: for `dev` and for `health`.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The maximum length of an answer, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The reason a request has no answer.
pub(super) type SendError = Box<dyn std::error::Error + Send + Sync>;

/// Sends the request over plain HTTP, and returns the answer. The caller sets the time limit.
pub(super) async fn send(server: SocketAddr, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), SendError> {
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await?.to_bytes();
    drop(sender);
    connection.await??;
    Ok((status, body))
}

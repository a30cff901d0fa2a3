//! Connections that a test leads to one server or another, or keeps silent.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// An address whose connections lead to a server that a test chooses. Dropping it closes them.
pub(super) struct Forwarder {
    address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
}

impl Forwarder {
    /// Leads to this server.
    pub(super) async fn to(target: SocketAddr) -> Self {
        Self::start(Some(target), None).await
    }

    /// Holds its connections until it leads somewhere.
    pub(super) async fn holding() -> Self {
        Self::start(None, None).await
    }

    /// Leads to this server. A connection falls silent when its client sends this text: it stays open, and passes nothing on.
    pub(super) async fn silent_at(target: SocketAddr, text: &'static str) -> Self {
        Self::start(Some(target), Some(text)).await
    }

    async fn start(target: Option<SocketAddr>, text: Option<&'static str>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (target, targets) = watch::channel(target);
        tokio::spawn(async move {
            let mut ended = targets.clone();
            let accept = async {
                while let Ok((client, _)) = listener.accept().await {
                    let mut targets = targets.clone();
                    tokio::spawn(async move {
                        let mut dropped = targets.clone();
                        // An error ends the connection, as it does without a forwarder.
                        let carried = async {
                            let target = targets.wait_for(Option::is_some).await.ok().and_then(|target| *target);
                            let target = target.ok_or(std::io::ErrorKind::NotConnected)?;
                            carry(client, TcpStream::connect(target).await?, text).await
                        };
                        tokio::select! {
                            _ended = carried => {}
                            _dropped = async { while dropped.changed().await.is_ok() {} } => {}
                        }
                    });
                }
            };
            tokio::select! {
                () = accept => {}
                () = async { while ended.changed().await.is_ok() {} } => {}
            }
        });
        Self { address, target }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads new connections, and those that it holds, to this server. The others stay.
    pub(super) fn lead_to(&self, target: SocketAddr) {
        self.target.send_replace(Some(target));
    }
}

async fn carry(client: TcpStream, server: TcpStream, text: Option<&'static str>) -> std::io::Result<()> {
    let ((mut client, mut to_client), (mut server, mut to_server)) = (client.into_split(), server.into_split());
    let silence = Arc::new(tokio::sync::Notify::new());
    let answers = async { tokio::io::copy(&mut server, &mut to_client).await.map(drop) };
    let requests = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = client.read(&mut buffer).await?;
            let bytes = &buffer[..length];
            if length == 0 {
                return Ok(());
            }
            if text.is_some_and(|text| bytes.windows(text.len()).any(|window| window == text.as_bytes())) {
                silence.notify_one();
                return std::future::pending().await;
            }
            to_server.write_all(bytes).await?;
        }
    };
    let answers = async {
        tokio::select! {
            answered = answers => answered,
            () = silence.notified() => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = answers => ended,
        ended = requests => ended,
    }
}

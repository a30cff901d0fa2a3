//! A TCP proxy that stands between a server and its database, and fails as networks do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How much is passed on at once, in bytes.
const CHUNK: usize = 16 * 1024;

/// How the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// It passes on what comes.
    Clear,
    /// It takes this long for each piece, in each direction.
    Slow(Duration),
    /// It swallows what comes: nothing arrives, nothing is closed. What was sent arrives when it is over, as TCP sends again.
    BlackHole,
    /// Nobody listens: connections are closed, new ones at once.
    Down,
}

/// A proxy that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    network: Arc<watch::Sender<Weather>>,
    accepting: JoinHandle<()>,
}

/// The target, the network, and how often all connections have been cut, and forgotten.
#[derive(Debug, Clone, Copy)]
struct Weather {
    target: SocketAddr,
    network: Network,
    cuts: u64,
    forgotten: u64,
}

impl Proxy {
    /// A proxy in front of `target`, at an address of its own.
    ///
    /// # Errors
    /// When there is no address to listen on.
    pub async fn start(target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let network = Arc::new(watch::Sender::new(Weather { target, network: Network::Clear, cuts: 0, forgotten: 0 }));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&network)));
        Ok(Self { address, network, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the network is like this.
    pub fn set(&self, network: Network) {
        self.network.send_modify(|weather| weather.network = network);
    }

    /// Leads new connections to another address. Connections that are open stay as they are.
    pub fn lead_to(&self, target: SocketAddr) {
        self.network.send_modify(|weather| weather.target = target);
    }

    /// Cuts all connections that are open.
    pub fn cut(&self) {
        self.network.send_modify(|weather| weather.cuts += 1);
    }

    /// Forgets all connections that are open: they stay half open. What is sent on them is taken and lost, and nobody is told.
    pub fn forget(&self) {
        self.network.send_modify(|weather| weather.forgotten += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, network: Arc<watch::Sender<Weather>>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(carry(client, network.subscribe()));
    }
}

/// One connection, until an end closes it or it is cut.
async fn carry(client: TcpStream, mut weather: watch::Receiver<Weather>) {
    let begun = *weather.borrow_and_update();
    if begun.network == Network::Down {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let pass = async {
        passable(&mut weather.clone()).await;
        let server = TcpStream::connect(begun.target).await?;
        server.set_nodelay(true)?;
        let (from_server, to_server) = server.into_split();
        let there = Pump { weather: weather.clone(), forgotten: begun.forgotten };
        let back = Pump { weather: weather.clone(), forgotten: begun.forgotten };
        tokio::try_join!(there.run(from_client, to_server), back.run(from_server, to_client))
    };
    tokio::select! {
        _closed = pass => {}
        () = is_cut(weather.clone(), begun.cuts) => {}
    }
}

/// Returns when what was begun at so many cuts is cut.
async fn is_cut(mut weather: watch::Receiver<Weather>, cuts: u64) {
    let ended = |weather: &Weather| weather.cuts != cuts || weather.network == Network::Down;
    // The proxy itself may be gone: then there is nothing left to carry either.
    let _gone = weather.wait_for(ended).await;
}

/// Returns when the network lets something through.
async fn passable(weather: &mut watch::Receiver<Weather>) {
    let _gone = weather.wait_for(|weather| weather.network != Network::BlackHole).await;
}

/// One direction of a connection.
struct Pump {
    weather: watch::Receiver<Weather>,
    /// How often connections had been forgotten when this one began.
    forgotten: u64,
}

impl Pump {
    async fn run(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
        let mut bytes = vec![0; CHUNK];
        loop {
            let read = from.read(&mut bytes).await?;
            passable(&mut self.weather).await;
            let weather = *self.weather.borrow_and_update();
            if weather.forgotten != self.forgotten {
                lose(&mut from, &mut bytes).await?;
                // The other end is not told: it is to find out by itself.
                std::future::pending::<()>().await;
            }
            if let Network::Slow(delay) = weather.network {
                tokio::time::sleep(delay).await;
            }
            if read == 0 {
                return to.shutdown().await;
            }
            to.write_all(&bytes[..read]).await?;
        }
    }
}

/// Takes what comes, for as long as anything does.
async fn lose(from: &mut OwnedReadHalf, bytes: &mut [u8]) -> std::io::Result<()> {
    while from.read(bytes).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest that an echo may take.
    const PATIENCE: Duration = Duration::from_secs(10);
    /// How long silence is listened to.
    const SILENCE: Duration = Duration::from_millis(150);

    async fn echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ended = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        Proxy::start(target).await.unwrap()
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(proxy.address()).await.unwrap()
    }

    /// What comes back of a word within a time; none if the connection is closed, or nothing comes.
    async fn echoed(stream: &mut TcpStream, within: Duration) -> Option<[u8; 4]> {
        let mut word = [0; 4];
        stream.write_all(b"word").await.ok()?;
        tokio::time::timeout(within, stream.read_exact(&mut word)).await.ok()?.ok()?;
        Some(word)
    }

    #[tokio::test]
    async fn a_clear_network_passes_on_what_comes() {
        let proxy = echo().await;
        assert_eq!(echoed(&mut connect(&proxy).await, PATIENCE).await, Some(*b"word"));
    }

    #[tokio::test]
    async fn a_cut_ends_what_is_open_and_nothing_else() {
        let proxy = echo().await;
        let mut open = connect(&proxy).await;
        assert!(echoed(&mut open, PATIENCE).await.is_some());
        proxy.cut();
        assert_eq!(tokio::time::timeout(PATIENCE, open.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
        assert!(echoed(&mut connect(&proxy).await, PATIENCE).await.is_some());
    }

    #[tokio::test]
    async fn a_black_hole_is_silent_and_what_was_sent_arrives_afterwards() {
        let proxy = echo().await;
        let mut open = connect(&proxy).await;
        assert!(echoed(&mut open, PATIENCE).await.is_some());
        proxy.set(Network::BlackHole);
        assert_eq!(echoed(&mut open, SILENCE).await, None);
        proxy.set(Network::Clear);
        let mut word = [0; 4];
        tokio::time::timeout(PATIENCE, open.read_exact(&mut word)).await.unwrap().unwrap();
        assert_eq!(&word, b"word");
    }

    #[tokio::test]
    async fn a_forgotten_connection_stays_silent_and_a_new_one_works() {
        let proxy = echo().await;
        let mut open = connect(&proxy).await;
        assert!(echoed(&mut open, PATIENCE).await.is_some());
        proxy.forget();
        assert_eq!(echoed(&mut open, SILENCE).await, None);
        assert!(echoed(&mut connect(&proxy).await, PATIENCE).await.is_some());
    }

    #[tokio::test]
    async fn a_network_that_is_down_closes_at_once() {
        let proxy = echo().await;
        proxy.set(Network::Down);
        assert_eq!(echoed(&mut connect(&proxy).await, PATIENCE).await, None);
        proxy.set(Network::Clear);
        assert!(echoed(&mut connect(&proxy).await, PATIENCE).await.is_some());
    }
}

//! More connections than the system has descriptors for: the program backs off, goes on with those it has, and recovers.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cli::Shop;
use crate::process::Launch;

const DESCRIPTORS: u32 = 128;
const CONNECTIONS: usize = 300;
/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// For how long the use of the processor is measured.
const MEASURED: Duration = Duration::from_secs(2);
/// Clock ticks of the system in a second, in `/proc/PID/stat`.
const TICKS: u64 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_the_server_neither_spins_nor_stops_and_recovers() {
    let shop = Shop::open();
    let text = std::fs::read_to_string(shop.folder.path("sts.toml")).unwrap();
    // The flood is not to go away by itself while it is looked at.
    shop.folder.write("sts.toml", &format!("{text}\n[limits]\nheader_timeout = \"5m\"\n"));
    let server = shop.folder.launch(&Launch::default().descriptors(DESCRIPTORS)).await;
    let address = shop.folder.issuer().strip_prefix("http://").unwrap().to_owned();
    let mut held = connected(&address).await;
    shop.token().await;

    let mut flood = Vec::new();
    for _ in 0..CONNECTIONS {
        // What the system's queue does not hold either is refused or waits; both are a flood.
        if let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(&address)).await {
            flood.push(stream);
        }
    }
    let starved = async {
        while !server.log().contains("connections cannot be accepted now") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let starved = tokio::time::timeout(PATIENCE, starved).await;
    assert!(starved.is_ok(), "{} connections are no flood:\n{}", flood.len(), server.log());

    let before = ticks(server.id());
    tokio::time::sleep(MEASURED).await;
    let used = ticks(server.id()) - before;
    assert!(used < MEASURED.as_secs() * TICKS / 4, "it spins: {used} of {} ticks", MEASURED.as_secs() * TICKS);
    for _ in 0..20 {
        assert_eq!(ask(&mut held).await, "HTTP/1.1 200");
        shop.token().await;
    }
    let told = server.log().matches("connections cannot be accepted now").count();
    assert_eq!(told, 1, "it is told once, and not each time:\n{}", server.log());

    drop(flood);
    let mut anew = connected(&address).await;
    assert_eq!(ask(&mut anew).await, "HTTP/1.1 200");
    shop.token().await;
    assert!(server.log().contains("connections are accepted again"), "{}", server.log());
    drop((held, anew));
    assert_eq!(server.end().await, Some(0));
}

async fn connected(address: &str) -> TcpStream {
    tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await.expect("in time").expect("a connection")
}

/// A request on a connection that is kept, and the beginning of its answer.
async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = async {
        while !answer.ends_with(b"ok\n") {
            answer.push(stream.read_u8().await.expect("the connection lives"));
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer");
    String::from_utf8_lossy(&answer[..12]).into_owned()
}

/// The processor time that a process has used, in user and kernel mode (proc(5)).
fn ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    // Behind the name, the state is the first field; utime and stime are the 12th and the 13th.
    fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

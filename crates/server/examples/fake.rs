//! The server over nodes that are made up, on a port of the loopback interface: for programs that try the
//! API from outside (`make contract-test`).
//!
//! ```text
//! cargo run -p accelnet-server --features fake --example fake -- 127.0.0.1:8780
//! ```
//! What comes by the port is passed on, byte by byte, to the server's socket, which is the same as that of
//! the daemon. Two nodes with some VMs each; an intent is there and enabled, a VM is accelerated. It prints
//! its address when it can be asked, and ends with its standard input.

use std::{env, error::Error, net::SocketAddr, sync::Arc};

use accelnet_api::{AccelerateRequest, Client, EnableRequest};
use accelnet_model::{Intent, Performance};
use accelnet_rules::fixture;
use accelnet_server::fake::{FakeNodes, Running};
use accelnet_store::MemoryStore;
use tokio::{
    io::{AsyncReadExt, copy_bidirectional, stdin},
    net::{TcpListener, UnixStream},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:0".to_owned());
    let address: SocketAddr = address.parse()?;
    assert!(
        address.ip().is_loopback(),
        "it knows no senders: loopback only"
    );
    let directory = env::temp_dir().join(format!("accelnet-fake-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    let socket = directory.join("accelnet.sock");
    let mut one = fixture::observed();
    let mut other = fixture::observed();
    for (node, boot) in [(&mut one, 1), (&mut other, 2)] {
        // Every real node says which boot it is in.
        node.node.boot_id = format!("00000000-0000-4000-8000-{boot:012}");
    }
    other.vms = (3..=6).map(fixture::vm).collect();
    let ports = &mut other.bridges[0].ports;
    ports.truncate(1);
    ports.extend(other.vms.iter().filter_map(|vm| {
        let nic = &vm.nics[0];
        Some(fixture::port(nic.tap.as_ref()?.as_str(), Some(nic.mac)))
    }));
    let nodes = FakeNodes::new([("node1", one), ("node2", other)]);
    let running = Running::start(Arc::new(MemoryStore::new()), &nodes, &socket).await;
    fill(&Client::on_socket(&socket)?).await?;
    let listener = TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    let mut end = Vec::new();
    let mut input = stdin();
    let ended = input.read_to_end(&mut end);
    tokio::pin!(ended);
    loop {
        tokio::select! {
            read = &mut ended => {
                read?;
                break;
            }
            taken = listener.accept() => {
                let (mut outside, _) = taken?;
                let mut inside = UnixStream::connect(&socket).await?;
                tokio::spawn(async move {
                    // Either side may go whenever it likes.
                    let _ = copy_bidirectional(&mut outside, &mut inside).await;
                });
            }
        }
    }
    running.stop().await;
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

/// Something that can be asked about.
async fn fill(client: &Client) -> Result<(), Box<dyn Error>> {
    let intent: Intent = serde_json::from_value(serde_json::json!({
        "name": "compute", "types": ["compute"], "adapters": ["pf0"], "bridge": "br0",
    }))?;
    client.add_intent(&intent, false).await?;
    let request = EnableRequest {
        intent: intent.name.to_string(),
        node_reserve_percentage: Some(0),
        nodes_down: None,
        when: None,
    };
    client.enable(&request, false).await?;
    let request = AccelerateRequest {
        performance: Performance::Low,
        must_be_accelerated: None,
        add_adapter: false,
        waive: Vec::new(),
        because: None,
    };
    client.accelerate("vm1", &request, false).await?;
    Ok(())
}

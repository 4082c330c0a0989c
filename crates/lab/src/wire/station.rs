//! The host on the wire: addresses 10.77.0.1 and fd77::1, answers ARP, neighbour discovery and
//! echo, and runs one end of the probes. Its protocols are smoltcp's.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use smoltcp::{
    iface::{Config, Interface, SocketSet},
    phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken},
    time::Instant,
    wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr},
};

use super::{
    end::{Pace, Peer, Probe},
    switch::{Port, QUEUE, Switch},
};
use crate::probe::{Log, now_ns};

const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0xcc, 0x00, 0x01];
const FIRST_PORT: u16 = 20_000;

/// What the station can be asked.
#[derive(Debug)]
pub enum Command {
    /// Open a probe's end: it receives, but sends nothing yet. The answer is its number, which is its
    /// UDP port or the identifier of its echoes.
    Open(Peer, Pace, Sender<u16>),
    /// Begin to send; the answer is false if there is no such probe.
    Begin(u16, Sender<bool>),
    /// Send no more, go on receiving; the answer is false if there is no such probe.
    Quiesce(u16, Sender<bool>),
    /// Close it; the answer is what it wrote down.
    Stop(u16, Sender<Option<Log>>),
}

/// What the station waits for.
#[derive(Debug)]
pub enum Input {
    /// A frame came by its port.
    Frame(Arc<[u8]>),
    /// It is asked for something.
    Command(Command),
}

/// Starts the station at a port of the switch of its own; commands go to the result.
pub fn start(switch: Arc<Switch>) -> SyncSender<Input> {
    let (inputs, receiver) = sync_channel(QUEUE);
    let frames = inputs.clone();
    let port = switch.plug(move |frame| frames.try_send(Input::Frame(frame)).is_ok());
    let nic = Nic {
        switch,
        port,
        waiting: VecDeque::new(),
    };
    thread::spawn(move || run(&receiver, nic));
    inputs
}

struct Nic {
    switch: Arc<Switch>,
    port: Port,
    waiting: VecDeque<Arc<[u8]>>,
}

struct Received(Arc<[u8]>);
struct Transmit<'a>(&'a Switch, Port);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut frame = vec![0; length];
        let result = fill(&mut frame);
        self.0.forward(self.1, &frame.into());
        result
    }
}

impl Device for Nic {
    type RxToken<'a> = Received;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Transmit<'_>)> {
        let frame = self.waiting.pop_front()?;
        Some((Received(frame), Transmit(&self.switch, self.port)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Transmit<'_>> {
        Some(Transmit(&self.switch, self.port))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

fn run(inputs: &Receiver<Input>, mut nic: Nic) {
    let clock = || Instant::from_micros((now_ns() / 1000) as i64);
    let config = Config::new(HardwareAddress::Ethernet(EthernetAddress(MAC)));
    let mut interface = Interface::new(config, &mut nic, clock());
    interface.update_ip_addrs(|addresses| {
        let own = [
            IpCidr::new(IpAddress::v4(10, 77, 0, 1), 24),
            IpCidr::new(IpAddress::v6(0xfd77, 0, 0, 0, 0, 0, 0, 1), 64),
        ];
        for address in own {
            // The list has room for more than two (smoltcp's IFACE_MAX_ADDR_COUNT).
            let _ = addresses.push(address);
        }
    });
    let mut sockets = SocketSet::new(Vec::new());
    let mut probes: HashMap<u16, Probe> = HashMap::new();
    loop {
        let wait = probes
            .values()
            .map(Probe::next_send_in)
            .min()
            .unwrap_or(Duration::from_millis(50));
        match inputs.recv_timeout(wait.min(Duration::from_millis(50))) {
            Ok(Input::Frame(frame)) => {
                nic.waiting.push_back(frame);
                while let Ok(input) = inputs.try_recv() {
                    match input {
                        Input::Frame(frame) => nic.waiting.push_back(frame),
                        Input::Command(command) => obey(command, &mut sockets, &mut probes),
                    }
                }
            }
            Ok(Input::Command(command)) => obey(command, &mut sockets, &mut probes),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        interface.poll(clock(), &mut nic, &mut sockets);
        for probe in probes.values_mut() {
            probe.receive(&mut sockets);
            probe.send(&mut sockets);
        }
        interface.poll(clock(), &mut nic, &mut sockets);
    }
}

fn obey(command: Command, sockets: &mut SocketSet<'_>, probes: &mut HashMap<u16, Probe>) {
    match command {
        Command::Open(peer, pace, answer) => {
            let free = (FIRST_PORT..)
                .find(|port| !probes.contains_key(port))
                .unwrap_or(FIRST_PORT);
            if let Some(probe) = Probe::open(sockets, free, peer, pace) {
                probes.insert(free, probe);
                let _ = answer.send(free);
            }
        }
        Command::Begin(port, answer) => {
            let probe = probes.get_mut(&port);
            let _ = answer.send(probe.is_some());
            if let Some(probe) = probe {
                probe.begin();
            }
        }
        Command::Quiesce(port, answer) => {
            let probe = probes.get_mut(&port);
            let _ = answer.send(probe.is_some());
            if let Some(probe) = probe {
                probe.quiesce();
            }
        }
        Command::Stop(port, answer) => {
            let log = probes.remove(&port).map(|probe| probe.close(sockets));
            let _ = answer.send(log);
        }
    }
}

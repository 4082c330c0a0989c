//! The host on the wire: addresses 10.77.0.1 and fd77::1, answers ARP, neighbour discovery and
//! echo, and runs one end of the probes. Its protocols are smoltcp's.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel as queue, sync_channel},
    },
    thread,
    time::Duration,
};

use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::udp,
    time::Instant,
    wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpEndpoint},
};

use super::switch::{Port, QUEUE, Switch};
use crate::probe::{Kind, Log, Packet, now_ns, pace};

const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0xcc, 0x00, 0x01];
const FIRST_PORT: u16 = 20_000;
/// An echo that did not come by then is given up, and its place goes to another.
const ECHO_PATIENCE_NS: u64 = 500_000_000;

/// What a probe sends.
#[derive(Debug, Clone, Copy)]
pub enum Mode {
    /// Packets at a fixed rate.
    Rate {
        /// Packets a second.
        pps: u32,
        /// Every so many of them ask for an echo.
        echo_every: u32,
    },
    /// Echo requests, so many on their way at any time.
    Outstanding {
        /// How many.
        count: u32,
    },
}

/// What the station can be asked.
#[derive(Debug)]
pub enum Command {
    /// Open a probe's end: it receives, but sends nothing yet. The answer is its local port.
    Open(SocketAddr, Mode, Sender<u16>),
    /// Begin to send; the answer is false if there is no such probe.
    Begin(u16, Sender<bool>),
    /// Send no more, go on receiving; the answer is false if there is no such probe.
    Quiesce(u16, Sender<bool>),
    /// Close it; the answer is what it wrote down.
    Stop(u16, Sender<Option<Log>>),
}

enum Input {
    Frame(Arc<[u8]>),
    Command(Command),
}

/// The station's end of its port.
pub struct Station(Receiver<Arc<[u8]>>);

/// A port for the station.
pub fn channel() -> (Station, SyncSender<Arc<[u8]>>) {
    let (frames, receiver) = sync_channel(QUEUE);
    (Station(receiver), frames)
}

/// Starts the station; commands go to the result.
pub fn start(station: Station, switch: Arc<Switch>, port: Port) -> Sender<Command> {
    let (inputs, receiver) = queue();
    let (commands, from_control) = queue::<Command>();
    let frames = inputs.clone();
    thread::spawn(move || {
        for frame in station.0 {
            if frames.send(Input::Frame(frame)).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for command in from_control {
            if inputs.send(Input::Command(command)).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        run(
            &receiver,
            Nic {
                switch,
                port,
                waiting: VecDeque::new(),
            },
        );
    });
    commands
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

struct Probe {
    socket: SocketHandle,
    peer: IpEndpoint,
    mode: Mode,
    /// When sending began; it does not send while there is no such moment.
    began_ns: Option<u64>,
    /// Echo requests on their way: number, when sent.
    pending: HashMap<u32, u64>,
    log: Log,
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
            probe.receive(sockets.get_mut(probe.socket));
            probe.send(sockets.get_mut(probe.socket));
        }
        interface.poll(clock(), &mut nic, &mut sockets);
    }
}

fn obey(command: Command, sockets: &mut SocketSet<'_>, probes: &mut HashMap<u16, Probe>) {
    match command {
        Command::Open(peer, mode, answer) => {
            let free = (FIRST_PORT..)
                .find(|port| !probes.contains_key(port))
                .unwrap_or(FIRST_PORT);
            let buffer = || {
                udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4096], vec![0; 4096 * 64])
            };
            let mut socket = udp::Socket::new(buffer(), buffer());
            if socket.bind(free).is_ok() {
                let socket = sockets.add(socket);
                let peer = IpEndpoint::from(peer);
                let (pending, log) = (HashMap::new(), Log::default());
                probes.insert(
                    free,
                    Probe {
                        socket,
                        peer,
                        mode,
                        began_ns: None,
                        pending,
                        log,
                    },
                );
                let _ = answer.send(free);
            }
        }
        Command::Begin(port, answer) => {
            let probe = probes.get_mut(&port);
            let _ = answer.send(probe.is_some());
            if let Some(probe) = probe {
                probe.began_ns = Some(now_ns());
            }
        }
        Command::Quiesce(port, answer) => {
            let probe = probes.get_mut(&port);
            let _ = answer.send(probe.is_some());
            if let Some(probe) = probe {
                probe.began_ns = None;
            }
        }
        Command::Stop(port, answer) => {
            let log = probes.remove(&port).map(|probe| {
                sockets.remove(probe.socket);
                probe.log
            });
            let _ = answer.send(log);
        }
    }
}

impl Probe {
    fn next_send_in(&self) -> Duration {
        let Some(began_ns) = self.began_ns else {
            return Duration::MAX;
        };
        let Mode::Rate { pps, .. } = self.mode else {
            return Duration::from_millis(1);
        };
        let due = began_ns + self.past() * 1_000_000_000 / u64::from(pps.max(1));
        Duration::from_nanos(due.saturating_sub(now_ns()))
    }

    /// Packets whose time has come and gone, sent or not.
    fn past(&self) -> u64 {
        self.log.sent_ns.len() as u64 + self.log.send_errors + self.log.not_sent
    }

    fn receive(&mut self, socket: &mut udp::Socket<'_>) {
        while let Ok((bytes, _)) = socket.recv() {
            let now = now_ns();
            let Some(packet) = Packet::decode(bytes) else {
                continue;
            };
            if packet.kind == Kind::EchoReply {
                self.pending.remove(&packet.seq);
                self.log
                    .echoes_ns
                    .push((packet.sent_ns, now.saturating_sub(packet.sent_ns)));
            } else {
                self.log.received.push((packet.seq, now));
            }
        }
    }

    fn send(&mut self, socket: &mut udp::Socket<'_>) {
        let Some(began_ns) = self.began_ns else {
            return;
        };
        let now = now_ns();
        match self.mode {
            Mode::Rate { pps, echo_every } => {
                let elapsed_ns = u128::from(now.saturating_sub(began_ns));
                let due =
                    (elapsed_ns * u128::from(pps) / 1_000_000_000) as u64 + u64::from(pps > 0);
                let behind = due.saturating_sub(self.past());
                let count = pace::catch_up(behind);
                self.log.not_sent += behind - count;
                for _ in 0..count {
                    let seq = self.log.sent_ns.len() as u32;
                    let kind = if seq.is_multiple_of(echo_every.max(1)) {
                        Kind::EchoRequest
                    } else {
                        Kind::Data
                    };
                    self.send_one(socket, kind, seq);
                }
            }
            Mode::Outstanding { count } => {
                self.pending
                    .retain(|_, sent| now.saturating_sub(*sent) < ECHO_PATIENCE_NS);
                while (self.pending.len() as u32) < count {
                    let seq = self.log.sent_ns.len() as u32;
                    if !self.send_one(socket, Kind::EchoRequest, seq) {
                        break;
                    }
                    self.pending.insert(seq, now_ns());
                }
            }
        }
    }

    /// False if the socket's buffer is full (4,096 packets: nobody has taken one for seconds). Such a
    /// packet has no number and is counted apart, as at the guest's end.
    fn send_one(&mut self, socket: &mut udp::Socket<'_>, kind: Kind, seq: u32) -> bool {
        let packet = Packet {
            kind,
            seq,
            sent_ns: now_ns(),
        };
        let sent = socket.send_slice(&packet.encode(), self.peer).is_ok();
        if sent {
            self.log.sent_ns.push(packet.sent_ns);
        } else {
            self.log.send_errors += 1;
        }
        sent
    }
}

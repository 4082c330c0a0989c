//! Who used the processor, and how much memory a process has, as the kernel counts it.

use std::{
    fs,
    time::{Duration, Instant},
};

/// Processes that are told apart; whatever else the machine does is the others'.
#[derive(Debug, Clone, Copy)]
pub struct Processes {
    /// The server that decides.
    pub server: u32,
    pub etcd: u32,
}

/// What was used until a moment.
#[derive(Debug, Clone, Copy)]
struct Used {
    at: Instant,
    server: Duration,
    etcd: Duration,
    own: Duration,
    /// All of the machine's processors.
    all: Duration,
}

/// Measures from when it is made.
pub struct Meter {
    processes: Processes,
    begun: Used,
}

/// What was used in a while.
#[derive(Debug, Clone, Copy)]
pub struct Busy {
    pub time: Duration,
    pub server: Duration,
    pub etcd: Duration,
    /// Of this process: the simulated nodes and the clients.
    pub own: Duration,
    pub others: Duration,
}

impl Processes {
    fn used(self) -> Used {
        Used {
            at: Instant::now(),
            server: of_process(self.server),
            etcd: of_process(self.etcd),
            own: of_process(std::process::id()),
            all: of_machine(),
        }
    }
}

impl Meter {
    pub fn new(processes: Processes) -> Self {
        Self {
            processes,
            begun: processes.used(),
        }
    }

    pub fn read(&self) -> Busy {
        let (begun, now) = (&self.begun, self.processes.used());
        let server = now.server.saturating_sub(begun.server);
        let etcd = now.etcd.saturating_sub(begun.etcd);
        let own = now.own.saturating_sub(begun.own);
        let all = now.all.saturating_sub(begun.all);
        Busy {
            time: now.at - begun.at,
            server,
            etcd,
            own,
            others: all.saturating_sub(server + etcd + own),
        }
    }
}

impl Busy {
    /// In processors.
    pub fn share(&self, used: Duration) -> f64 {
        used.as_secs_f64() / self.time.as_secs_f64()
    }

    /// One line of it.
    pub fn say(&self, indent: &str) {
        let [server, etcd, own, others] =
            [self.server, self.etcd, self.own, self.others].map(|used| self.share(used));
        let all = server + etcd + own + others;
        let processors = processors();
        println!(
            "{indent}processors: {all:.2} of {processors} busy: server {server:.2}, etcd {etcd:.2}, simulated nodes and \
             clients {own:.2}, others {others:.2}"
        );
    }
}

/// How many there are.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn ticks(number: u64) -> Duration {
    Duration::from_secs(number) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap()
}

/// What a process has used since it began (proc(5), `/proc/pid/stat`: utime, stime).
pub fn of_process(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let words = after_name.split_whitespace();
    ticks(words.skip(11).take(2).map(number).sum())
}

/// Without what is idle or waits for a disk (`/proc/stat`).
fn of_machine() -> Duration {
    let stat = fs::read_to_string("/proc/stat").expect("/proc/stat");
    let first = stat.lines().next().expect("a line for all processors");
    let words: Vec<u64> = first.split_whitespace().skip(1).map(number).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted as users.
    let busy = words.iter().take(8).sum::<u64>() - words[3] - words[4];
    ticks(busy)
}

/// Of a process, in MiB: what it has now, and the most that it has had.
pub fn memory(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next())
            .map_or(0, |kib| number(kib) / 1024)
    };
    (line("VmRSS:"), line("VmHWM:"))
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_default()
}

//! One admission decision at 10,000 nodes and 200,000 VMs, a refusal with its words, the state's size and
//! a recovery plan, beside their bars.
//!
//! `make bench`. The cluster is made by a fixed rule, so that runs compare. Decisions are measured in
//! processor time of their thread: what else the machine does is not theirs. Times are printed beside
//! their bars and fail nothing; a wrong answer, or a state above its bar, fails.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use accelnet_model::Performance;
use accelnet_rules::capacity::{Adapter, Capacity, Node, Queues, Reserve, Vm};
use rustix::time::{ClockId, clock_gettime};

const NODES: usize = 10_000;
const VMS: usize = 200_000;
const DECISIONS: usize = 20_000;

/// The bars.
const MOST_FOR_A_DECISION: Duration = Duration::from_micros(20);
const MOST_FOR_A_REFUSAL: Duration = Duration::from_micros(200);
const MOST_FOR_A_PLAN: Duration = Duration::from_millis(100);
const MOST_BYTES_A_VM: usize = 1024;

/// Bytes that are in use now, as they were asked for.
static IN_USE: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counting.
struct Counting;

// SAFETY: every call is the system allocator's with the same arguments; counting touches no memory of
// the caller's. `realloc` and `alloc_zeroed` are the trait's own, which use these two.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract, which is the system allocator's too.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: `pointer` came from `alloc` above with this layout, so from the system allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A deterministic sequence that looks like chance (xorshift64).
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

fn nodes(queues: impl Fn(usize) -> (u32, Queues)) -> Vec<Node> {
    let node = |number: usize| Node {
        name: format!("node{number}"),
        adapters: (0..2)
            .map(|port| {
                let (vfs, queues) = queues(number);
                Adapter {
                    name: format!("pf{port}"),
                    vfs,
                    queues,
                }
            })
            .collect(),
        down: false,
    };
    (0..NODES).map(node).collect()
}

fn vm(number: usize, most_nics: usize, sequence: &mut Sequence) -> Vm {
    Vm {
        name: format!("vm{number}"),
        level: Performance::ALL[sequence.below(3)],
        nics: 1 + sequence.below(most_nics) as u32,
        node: None,
        adapters: None,
    }
}

/// What this thread has used of the processor.
fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

/// The times below which so many thousandths of them are.
fn at(times: &[Duration], share: usize) -> Duration {
    times[(times.len() * share / 1000).min(times.len() - 1)]
}

fn print(what: &str, mut times: Vec<Duration>, bar: Duration) {
    if times.is_empty() {
        return;
    }
    times.sort_unstable();
    println!(
        "  {} {what}: p50 {:.1?} p99 {:.1?} p99.9 {:.1?} max {:.1?} (bar: p99 {bar:?})",
        times.len(),
        at(&times, 500),
        at(&times, 990),
        at(&times, 999),
        at(&times, 1000)
    );
}

/// Measures one cluster, in which all VMs are admitted or all refused; false if they are not, or if the
/// state is above its bar.
fn run(what: &str, nodes: impl FnOnce() -> Vec<Node>, most_nics: usize, room: bool) -> bool {
    let mut sequence = Sequence(0x9e37_79b9_7f4a_7c15);
    let before = IN_USE.load(Relaxed);
    let nodes = nodes();
    let mut capacity = Capacity::new(nodes, Reserve::Percentage(50)).expect("a valid cluster");
    let begin = Instant::now();
    for number in 0..VMS {
        let mut vm = vm(number, most_nics, &mut sequence);
        vm.node = Some(format!("node{}", number % NODES));
        let port = |_| format!("pf{}", number / NODES % 2);
        vm.adapters = Some((0..vm.nics).map(port).collect());
        capacity.put(vm).expect("a valid VM");
    }
    let loaded = begin.elapsed();
    let bytes_a_vm = (IN_USE.load(Relaxed) - before) / VMS;
    println!(
        "{what}: {VMS} VMs loaded in {loaded:.1?}, {bytes_a_vm} bytes a VM (bar: {MOST_BYTES_A_VM})"
    );
    let mut good = bytes_a_vm < MOST_BYTES_A_VM;
    let [mut admitted, mut refused, mut explained, mut again] = [const { Vec::new() }; 4];
    for number in VMS..VMS + DECISIONS {
        let asking = vm(number, most_nics, &mut sequence);
        let name = asking.name.clone();
        let begin = processor_time();
        let answer = capacity.admit(asking);
        let time = processor_time().saturating_sub(begin);
        good &= answer.is_ok() == room;
        match answer {
            Ok(()) => admitted.push(time),
            Err(refusal) => {
                let begin = processor_time();
                let words = capacity.explain(&refusal, Some(&name));
                explained.push(time + processor_time().saturating_sub(begin));
                refused.push(time);
                good &= words.counterexample.len() == NODES / 2;
            }
        }
        // Every other decision is followed by a VM that asks where it runs, and is switched off.
        if number % 2 == 0 {
            let other = format!("vm{}", sequence.below(VMS));
            if let Some(mut running) = capacity.vm(&other) {
                running.level = Performance::ALL[sequence.below(3)];
                let begin = processor_time();
                let answer = capacity.would_admit(&running);
                again.push(processor_time().saturating_sub(begin));
                good &= answer.is_ok() || !room;
                capacity.remove(&other);
                (running.adapters, running.node) = (None, None);
                capacity.put(running).expect("a valid VM");
            }
        }
    }
    print("admitted", admitted, MOST_FOR_A_DECISION);
    print("refused", refused, MOST_FOR_A_REFUSAL);
    print(
        "refused, with all nodes by name",
        explained,
        MOST_FOR_A_REFUSAL,
    );
    let bar = if room {
        MOST_FOR_A_DECISION
    } else {
        MOST_FOR_A_REFUSAL
    };
    print("asked for a level where they run", again, bar);
    let begin = Instant::now();
    let recovery = capacity
        .recover(&["node1".to_owned()])
        .expect("a known node");
    println!(
        "  recovery plan for {} VMs ({} without room) in {:.1?} (bar: {MOST_FOR_A_PLAN:?})",
        recovery.placements.len(),
        recovery.without_room.len(),
        begin.elapsed()
    );
    good &= recovery.without_room.is_empty();
    if !good {
        println!("{what}: A WRONG ANSWER, or more than {MOST_BYTES_A_VM} bytes a VM");
    }
    good
}

fn main() -> ExitCode {
    let fixed = |_| (64, Queues::PerVf { pairs: 4 });
    let mixed = |number: usize| match number % 3 {
        0 => (64, Queues::PerVf { pairs: 4 }),
        1 => (64, Queues::PerVf { pairs: 2 }),
        _ => (256, Queues::pool(256)),
    };
    let both = |_| (64, Queues::pool(160));
    let few = |_| (20, Queues::PerVf { pairs: 4 });
    let few_pools = |_| (40, Queues::pool(120));
    let too_few_pools = |_| (30, Queues::pool(90));
    let good = [
        run("one NIC, fixed", || nodes(fixed), 1, true),
        run("one NIC, mixed", || nodes(mixed), 1, true),
        run("up to 3 NICs, mixed", || nodes(mixed), 3, true),
        run("up to 3 NICs, pools", || nodes(both), 3, true),
        run("one NIC, full", || nodes(few), 1, false),
        run(
            "up to 2 NICs, pools, nearly full",
            || nodes(few_pools),
            2,
            true,
        ),
        run(
            "up to 2 NICs, pools, full",
            || nodes(too_few_pools),
            2,
            false,
        ),
    ];
    ExitCode::from(u8::from(good.contains(&false)))
}

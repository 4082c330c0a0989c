//! Looking at all VMs, so that one about which libvirt does not answer costs only itself.
//!
//! What libvirt says of a VM's definition waits for the VM's job; a QEMU that hangs (its disk's server
//! has gone) makes that half a minute, or for ever. Nothing can be called back, so a thread reads for
//! the one who looks: if it does not come back another one reads on, and that VM is not asked again
//! before the first has come back.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use accelnet_model::VmState;
use uuid::Uuid;
use virt::domain::Domain;

use super::look::{self, Glance};
use crate::{Result, VmSeen};

/// How long libvirt may think about one VM; it needs milliseconds, on slow machines half a second.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many VMs' answers are waited for at the same time: libvirtd serves five requests of one client at
/// once, and then not even its keepalive (libvirtd.conf, `max_client_requests`). One that is off hangs while
/// something is made of it (several that are started at the same time wait for each other, seconds on slow
/// machines), and must not keep those that run from being seen.
const STUCK_AT_MOST: usize = 3;
const STUCK_IF_OFF: usize = 2;

/// Why the others are not asked about then.
const TOO_MANY: &str = "libvirt does not answer about other VMs, and is not asked about this one";

/// VMs about which libvirt has been asked, and has not answered.
#[derive(Debug, Clone, Default)]
pub struct Stuck(Arc<Mutex<BTreeSet<Uuid>>>);

impl Stuck {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Uuid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A VM to look at.
type Task = (Domain, Glance);
/// What a reader says: which VM it reads now, and what came of it.
type Read = Result<Option<VmSeen>>;

/// Looks at all of them.
pub fn all(tasks: Vec<Task>, stuck: &Stuck) -> Result<Vec<VmSeen>> {
    let tasks = tasks.into_iter().map(|(domain, glance)| Work {
        blank: blank(&glance),
        job: Box::new(move || look::look(&domain, glance)),
        done: Arc::default(),
    });
    read(tasks.collect(), stuck, PATIENCE)
}

/// Those that run first: what is waited for then is not at their cost.
fn in_order(work: Vec<Work>) -> VecDeque<Work> {
    let (off, running): (Vec<_>, Vec<_>) = work.into_iter().partition(Work::is_off);
    running.into_iter().chain(off).collect()
}

/// One VM's reading, and what is known of it without.
struct Work {
    blank: VmSeen,
    job: Box<dyn FnOnce() -> Read + Send>,
    /// Changed under the lock of [`Stuck`] only.
    done: Arc<AtomicBool>,
}

impl Work {
    fn is_off(&self) -> bool {
        self.blank.state == VmState::Off
    }
}

fn blank(glance: &Glance) -> VmSeen {
    VmSeen {
        uuid: glance.vm.uuid,
        name: glance.vm.name.clone(),
        state: glance.raw.run_state(),
        job: glance.job,
        facts: Err("libvirt does not answer about it: a job of it, or its QEMU, hangs".to_owned()),
    }
}

fn read(work: Vec<Work>, stuck: &Stuck, patience: Duration) -> Result<Vec<VmSeen>> {
    let mut left = in_order(work);
    let mut seen = Vec::new();
    let (answers, answered) = mpsc::channel();
    let mut reader: Option<mpsc::Sender<Work>> = None;
    while let Some(work) = left.pop_front() {
        let blank = work.blank.clone();
        let limit = if work.is_off() {
            STUCK_IF_OFF
        } else {
            STUCK_AT_MOST
        };
        let (is_stuck, too_many) = {
            let stuck = stuck.lock();
            (stuck.contains(&blank.uuid), stuck.len() >= limit)
        };
        if is_stuck || too_many {
            let facts = if is_stuck {
                blank.facts
            } else {
                Err(TOO_MANY.to_owned())
            };
            seen.push(VmSeen { facts, ..blank });
            continue;
        }
        let tasks = reader.get_or_insert_with(|| spawn_reader(answers.clone(), stuck.clone()));
        let done = Arc::clone(&work.done);
        if tasks.send(work).is_err() {
            seen.push(blank);
            reader = None;
            continue;
        }
        match answer_about(&answered, blank.uuid, patience) {
            Some(answer) => seen.extend(answer?),
            None => {
                tracing::warn!(vm = blank.name, "libvirt does not answer about a VM");
                let mut stuck = stuck.lock();
                if !done.load(Ordering::Relaxed) {
                    stuck.insert(blank.uuid);
                }
                drop(stuck);
                seen.push(blank);
                // It ends when its call comes back and nobody has more for it.
                reader = None;
            }
        }
    }
    Ok(seen)
}

/// The next answer about this VM; late ones about others are passed over.
fn answer_about(
    answered: &mpsc::Receiver<(Uuid, Read)>,
    vm: Uuid,
    patience: Duration,
) -> Option<Read> {
    let start = std::time::Instant::now();
    loop {
        let left = patience.saturating_sub(start.elapsed());
        match answered.recv_timeout(left) {
            Ok((of, answer)) if of == vm => return Some(answer),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

fn spawn_reader(answers: mpsc::Sender<(Uuid, Read)>, stuck: Stuck) -> mpsc::Sender<Work> {
    let (sender, tasks) = mpsc::channel::<Work>();
    thread::spawn(move || {
        for Work { blank, job, done } in tasks {
            let answer = job();
            let mut stuck = stuck.lock();
            done.store(true, Ordering::Relaxed);
            stuck.remove(&blank.uuid);
            drop(stuck);
            // Who asked may have gone on long ago.
            let _ = answers.send((blank.uuid, answer));
        }
    });
    sender
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HypervisorError;

    const SHORT: Duration = Duration::from_millis(50);

    fn vm(number: u128, job: impl FnOnce(VmSeen) -> Read + Send + 'static) -> Work {
        let blank = VmSeen {
            uuid: Uuid::from_u128(number),
            name: format!("vm{number}"),
            state: VmState::Running,
            job: None,
            facts: Err("blank".into()),
        };
        Work {
            blank: blank.clone(),
            job: Box::new(move || job(blank)),
            done: Arc::default(),
        }
    }

    fn answers(vm: VmSeen) -> Read {
        Ok(Some(VmSeen {
            facts: Err("answered".into()),
            ..vm
        }))
    }

    fn words(seen: Result<Vec<VmSeen>>) -> Vec<String> {
        let all = seen.unwrap().into_iter();
        all.map(|vm| format!("{} {}", vm.name, vm.facts.unwrap_err()))
            .collect()
    }

    #[test]
    fn a_vm_that_hangs_costs_only_itself() {
        let stuck = Stuck::default();
        let (release, hangs) = mpsc::channel::<()>();
        let look = |hanging: Option<mpsc::Receiver<()>>| {
            let mut work = Vec::from([vm(1, answers)]);
            work.push(match hanging {
                Some(until) => vm(2, move |vm| {
                    let _ = until.recv();
                    answers(vm)
                }),
                None => vm(2, |_| panic!("asked again")),
            });
            work.extend([vm(3, |_| Ok(None)), vm(4, answers)]);
            words(read(work, &stuck, SHORT))
        };
        let expected = ["vm1 answered", "vm2 blank", "vm4 answered"];
        assert_eq!(look(Some(hangs)), expected);
        assert_eq!(look(None), expected);
        drop(release);
        while !stuck.lock().is_empty() {
            thread::yield_now();
        }
        let healed = read(Vec::from([vm(2, answers)]), &stuck, SHORT);
        assert_eq!(words(healed), ["vm2 answered"]);
    }

    #[test]
    fn libvirt_is_never_asked_about_more_than_it_can_answer() {
        let stuck = Stuck::default();
        let (_release, hangs) = mpsc::channel::<()>();
        let hangs = Arc::new(Mutex::new(hangs));
        let hanging = |number| {
            let hangs = Arc::clone(&hangs);
            vm(number, move |vm| {
                let _ = hangs.lock().unwrap().recv();
                answers(vm)
            })
        };
        let off = |mut work: Work| {
            work.blank.state = VmState::Off;
            work
        };
        let too_many = |number, how: fn(Work) -> Work| how(vm(number, |_| panic!("one too many")));
        let work = [
            off(hanging(1)),
            off(hanging(2)),
            too_many(3, off),
            vm(4, answers),
        ];
        let seen = words(read(work.into(), &stuck, SHORT));
        let third = format!("vm3 {TOO_MANY}");
        assert_eq!(
            seen,
            ["vm4 answered", "vm1 blank", "vm2 blank", third.as_str()]
        );
        // And in the passes after: one more that runs, and hangs, may be asked.
        let work = [
            too_many(3, off),
            vm(4, answers),
            hanging(5),
            too_many(6, |work| work),
        ];
        let seen = words(read(work.into(), &stuck, SHORT));
        let (sixth, third) = (format!("vm6 {TOO_MANY}"), third.as_str());
        assert_eq!(seen, ["vm4 answered", "vm5 blank", sixth.as_str(), third]);
    }

    #[test]
    fn a_lost_connection_is_no_list_of_vms() {
        let lost = HypervisorError::Unavailable("closed".into());
        let error = lost.clone();
        let work = [vm(1, answers), vm(2, move |_| Err(error)), vm(3, answers)];
        assert_eq!(read(work.into(), &Stuck::default(), SHORT), Err(lost));
    }
}

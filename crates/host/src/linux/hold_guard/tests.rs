use std::sync::{Arc, Mutex};

use super::*;

/// A guard in a thread, and what it let go of.
struct Guarded {
    requests: std::os::fd::OwnedFd,
    released: Arc<Mutex<Vec<u32>>>,
    thread: std::thread::JoinHandle<(Result<()>, String)>,
}

/// `fails` is how often a release fails before it works.
fn guarded(mut fails: u32) -> Guarded {
    let (reader, requests) = rustix::pipe::pipe().unwrap();
    let released = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&released);
    let thread = std::thread::spawn(move || {
        let mut answers = Vec::new();
        let result = guard(reader.as_fd(), &mut answers, &mut |interface| {
            if fails > 0 {
                fails -= 1;
                return Err(HostError::kernel("release", libc::ENOBUFS, None));
            }
            noted.lock().unwrap().push(interface);
            Ok(())
        });
        (result, String::from_utf8(answers).unwrap())
    });
    Guarded {
        requests,
        released,
        thread,
    }
}

impl Guarded {
    fn tell(&self, text: &str) {
        rustix::io::write(&self.requests, text.as_bytes()).unwrap();
    }

    fn released(&self) -> Vec<u32> {
        self.released.lock().unwrap().clone()
    }

    fn lets_go(&self, wanted: &[u32]) {
        deadline::wait_for("a release", Duration::from_secs(10), || {
            Ok((self.released() == wanted).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}: {:?}", self.released()));
    }

    /// Its client dies.
    fn end(self) -> (Result<()>, String, Vec<u32>) {
        drop(self.requests);
        let (result, answers) = self.thread.join().unwrap();
        let released = self.released.lock().unwrap().clone();
        (result, answers, released)
    }
}

#[test]
fn each_hold_ends_at_its_deadline_and_all_with_the_pipe() {
    let guarded = guarded(0);
    let begun = Instant::now();
    guarded.tell("hold 3 300\nhold 4 100\nhold 5 600");
    guarded.tell("00\nhold 6 60000\nhold 7 60000\nreleased 6\n");
    guarded.lets_go(&[4, 3]);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let (result, answers, released) = guarded.end();
    assert_eq!(result, Ok(()));
    assert_eq!(
        answers,
        "holding 3\nholding 4\nholding 5\nholding 6\nholding 7\n"
    );
    assert_eq!(released, [4, 3, 5, 7]);
}

#[test]
fn a_second_hold_replaces_the_first() {
    let guarded = guarded(0);
    guarded.tell("hold 3 200\nhold 3 60000\nhold 4 400\n");
    guarded.lets_go(&[4]);
    assert_eq!(guarded.end().2, [4, 3]);
}

#[test]
fn a_release_that_fails_is_tried_again() {
    let during = guarded(2);
    during.tell("hold 3 0\n");
    during.lets_go(&[3]);
    assert_eq!(during.end().2, [3]);
    let at_the_end = guarded(2);
    at_the_end.tell("hold 3 60000\n");
    assert_eq!(at_the_end.end().2, [3]);
}

#[test]
fn nonsense_ends_the_guard_and_lets_go() {
    for nonsense in ["hold x 3\n", "hold 3\n", "released\n", "\n", "keep 3 4\n"] {
        let guarded = guarded(0);
        guarded.tell("hold 9 60000\n");
        guarded.tell(nonsense);
        let (result, _) = guarded.thread.join().unwrap();
        assert!(matches!(result, Err(HostError::Malformed(_))), "{nonsense}");
        assert_eq!(*guarded.released.lock().unwrap(), [9]);
    }
}

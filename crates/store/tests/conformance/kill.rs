//! A writer that is killed with SIGKILL: what it was told is durable is there afterwards.
//!
//! The writer is this test binary again, told by the environment to run only [`k00_the_writer`].
//! It reports each acknowledged write on its standard output; the pipe outlives it.

use std::{
    env,
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
};

use accelnet_store::{Op, OpenError, SqliteOptions, SqliteStore, Store};
use tokio::task::JoinSet;

use crate::backend::{file, get, revision};

/// Names the file to the writer.
const FILE: &str = "ACCELNET_STORE_TEST_FILE";

/// In front of each report, to tell it from what the test harness prints.
const REPORT: &str = "acknowledged ";

const TASKS: usize = 4;

/// The writer: several tasks, each counting up its own key until the process dies. Does nothing
/// when it is run as a test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k00_the_writer() {
    let Some(file) = env::var_os(FILE) else {
        return;
    };
    let store = Arc::new(
        SqliteStore::open(file, SqliteOptions::default())
            .await
            .unwrap(),
    );
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            let key = format!("k/{task}");
            let start = get(&store, &key).await.map_or(0, |kv| kv.version);
            for number in start + 1.. {
                // Filled up, so that a transaction is several pages, and its halves would show.
                let value = format!("{number:0>9000}");
                let ops = vec![
                    Op::put(key.as_str(), value),
                    Op::put(format!("twin/{task}"), ""),
                ];
                let revision = store.txn(vec![], ops).await.unwrap().committed().unwrap();
                println!("{REPORT}{task} {number} {revision}");
            }
        });
    }
    tasks.join_all().await;
}

struct Writer {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Writer {
    fn start(file: &Path) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["kill::k00_the_writer", "--exact", "--nocapture"])
            .env(FILE, file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// The next write that was acknowledged: task, number, revision. `None` when all are read.
    fn report(&mut self) -> Option<(usize, u64, u64)> {
        loop {
            let line = self.lines.next()?.unwrap();
            // The harness leaves its own line unfinished in front of the first report. The last
            // report may be cut short by the kill.
            let Some((_, report)) = line.split_once(REPORT) else {
                continue;
            };
            let mut numbers = report
                .split(' ')
                .map(|number| number.parse::<u64>().unwrap());
            let (task, number) = (numbers.next()?, numbers.next()?);
            return Some((usize::try_from(task).unwrap(), number, numbers.next()?));
        }
    }
}

/// A test that fails leaves no writer behind.
impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn k01_what_was_acknowledged_survives_a_kill() {
    let (_directory, file) = file();
    for writes in [1, 50, 200] {
        let mut writer = Writer::start(&file);
        let mut acknowledged = [0; TASKS];
        let mut last_revision = 0;
        let mut note = |(task, number, revision): (usize, u64, u64)| {
            acknowledged[task] = number;
            last_revision = last_revision.max(revision);
        };
        for _ in 0..writes {
            note(writer.report().expect("the writer has died by itself"));
        }
        // While it lives, the file is its own; after, it is free at once.
        let refused = SqliteStore::open(&file, SqliteOptions::default()).await;
        assert!(
            matches!(refused, Err(OpenError::InUse { .. })),
            "{refused:?}"
        );
        writer.process.kill().unwrap();
        writer.process.wait().unwrap();
        while let Some(report) = writer.report() {
            note(report);
        }

        let store = SqliteStore::open(&file, SqliteOptions::default())
            .await
            .unwrap();
        assert!(revision(&store).await.get() >= last_revision);
        for (task, number) in acknowledged.into_iter().enumerate() {
            let version = |key: String| {
                let store = &store;
                async move { get(store, &key).await.map_or(0, |kv| kv.version) }
            };
            let written = version(format!("k/{task}")).await;
            assert!(
                written >= number,
                "task {task} was told {number}, found is {written}"
            );
            assert_eq!(
                version(format!("twin/{task}")).await,
                written,
                "half a transaction"
            );
        }
        store.close().await;
    }
}

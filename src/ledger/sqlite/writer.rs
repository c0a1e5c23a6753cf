//! The thread that writes: many calls, one transaction, one sync.
//!
//! If a statement of a call fails, only that call fails: the transaction is rolled back, and the other
//! calls run again without it. A transaction without a failure costs nothing extra.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::super::Unavailable;
use super::error::{OpenError, is_of_statement, unavailable};
use super::open::Opened;
use super::state::{WriterState, locked};
use super::writer_db::WriterDb;

/// The maximum number of calls in one transaction, which bounds how long its first call waits.
const BATCH: usize = 512;
/// The maximum number of calls in the queue. Further calls wait until the queue has space.
const WAITING: usize = 4096;

/// The number of calls in a transaction from which on the next transaction is delayed (group commit).
///
/// Where this many calls came together, about as many more will soon come. A sync costs as much for one
/// call as for hundreds, so a busy gate saves syncs by the delay. A gate that is not busy has no delay.
const GROUP_COMMIT_MIN: usize = 4;
/// The time by which the next transaction is delayed, so that more calls share its sync.
const GROUP_COMMIT_DELAY: Duration = Duration::from_micros(400);

/// The sender of calls to the writing thread.
pub(super) struct Writer {
    inbox: Option<mpsc::Sender<Box<dyn Work>>>,
    thread: Option<JoinHandle<()>>,
    health: Arc<Mutex<Result<(), Unavailable>>>,
}

impl Writer {
    pub(super) fn start(opened: Opened, mut state: WriterState) -> Result<Self, OpenError> {
        let (sender, inbox) = mpsc::channel(WAITING);
        let health = Arc::new(Mutex::new(Ok(())));
        let path = opened.path.clone();
        state
            .load(&opened.db)
            .map_err(|error| OpenError::of_sqlite(&path, &error))?;
        let of_thread = health.clone();
        let thread = std::thread::Builder::new().name("ledger".into());
        let thread = thread
            .spawn(move || {
                // The lock is released last, when the file is closed.
                let (_lock, db) = (opened.lock, opened.db);
                let writer = WriterThread {
                    path: opened.path,
                    db: WriterDb::new(&db),
                    state,
                    stale: false,
                    health: of_thread,
                };
                writer.work(inbox);
            })
            .map_err(|error| OpenError::of_system(&path, &error))?;
        Ok(Self {
            inbox: Some(sender),
            thread: Some(thread),
            health,
        })
    }

    /// Runs a call on the writing thread, and returns its result once its changes are on disk. The call runs
    /// even if nobody waits for the result any more. It may run again after it was rolled back.
    pub(super) async fn call<T, F>(&self, run: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        F: FnMut(&mut WriterState, &WriterDb<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let stopped = || Unavailable::permanent("its thread has stopped: restart the gate");
        let (reply, answer) = oneshot::channel();
        let call = Call {
            run,
            done: None,
            reply,
        };
        let inbox = self.inbox.as_ref().ok_or_else(stopped)?;
        let sent = inbox.send(Box::new(call)).await;
        sent.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    pub(super) async fn ready(&self) -> Result<(), Unavailable> {
        let health = locked(&self.health).clone();
        if health.is_ok() && self.thread.as_ref().is_some_and(|t| !t.is_finished()) {
            return Ok(());
        }
        // Writes the first page of the database without changing it.
        let probe = |_: &mut WriterState, db: &WriterDb<'_>| {
            let version = |row: &rusqlite::Row<'_>| row.get("user_version");
            let version: u32 = db.query_row("PRAGMA user_version", [], version)?;
            db.pragma_update(None, "user_version", version)
        };
        self.call(probe).await?;
        *locked(&self.health) = Ok(());
        Ok(())
    }

    /// Refuses further calls, and waits until all earlier calls are done and the file is closed.
    pub(super) fn stop(&mut self) {
        self.inbox = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the ledger's thread has panicked");
        }
    }
}

/// A call to the ledger that waits for the writing thread or runs in its transaction.
trait Work: Send {
    fn run(&mut self, state: &mut WriterState, db: &WriterDb<'_>) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, outcome: &Result<(), Unavailable>);
}

struct Call<T, F> {
    run: F,
    done: Option<T>,
    reply: oneshot::Sender<Result<T, Unavailable>>,
}

impl<T, F> Work for Call<T, F>
where
    T: Send,
    F: FnMut(&mut WriterState, &WriterDb<'_>) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, state: &mut WriterState, db: &WriterDb<'_>) -> rusqlite::Result<()> {
        self.done = Some((self.run)(state, db)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: &Result<(), Unavailable>) {
        let answer = match (outcome, self.done) {
            (Err(error), _) => Err(error.clone()),
            (Ok(()), Some(done)) => Ok(done),
            // Cannot happen: a committed call has run.
            (Ok(()), None) => Err(Unavailable::permanent("it was not asked")),
        };
        // The caller may have stopped waiting.
        let _ = self.reply.send(answer);
    }
}

/// The maximum time that the last checkpoint waits for other programs.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// The thread that writes, with what it owns.
struct WriterThread<'c> {
    path: PathBuf,
    db: WriterDb<'c>,
    state: WriterState,
    /// Whether the state in memory may differ from that on disk.
    stale: bool,
    health: Arc<Mutex<Result<(), Unavailable>>>,
}

/// The reason why a transaction was not committed.
enum Failure {
    /// A statement of the call at this index of the batch failed. Other calls may succeed.
    Call(usize, rusqlite::Error),
    /// The file cannot be written at all, or the state cannot be loaded from it. No call can succeed.
    All(rusqlite::Error),
}

impl WriterThread<'_> {
    fn work(mut self, mut inbox: mpsc::Receiver<Box<dyn Work>>) {
        let mut batch = Vec::with_capacity(BATCH);
        while inbox.blocking_recv_many(&mut batch, BATCH) > 0 {
            let busy = batch.len() >= GROUP_COMMIT_MIN;
            self.commit(&mut batch);
            if busy {
                std::thread::sleep(GROUP_COMMIT_DELAY);
            }
        }
        // A stop does not wait for long, whoever holds the file.
        let _ = self.db.busy_timeout(CLOSE_PATIENCE);
        let checkpoint = self
            .db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                row.get::<_, bool>("busy")
            });
        let path = self.path.display();
        match checkpoint {
            Ok(false) => {}
            Ok(true) => log::warn!(
                "{path}: another program uses it, so that the newest entries stay in {path}-wal: \
                 keep both files together"
            ),
            // Nothing is lost: the next opening reads the log.
            Err(error) => log::warn!("{}", unavailable(&self.path, error)),
        }
    }

    /// Commits the calls of a batch and answers all of them. If a call fails for a reason of its own, the
    /// calls before it are committed without it, and then the calls after it. So each call runs twice at
    /// most, unless a call fails that has just succeeded.
    fn commit(&mut self, batch: &mut Vec<Box<dyn Work>>) {
        while !batch.is_empty() {
            let changes = self.db.total_changes();
            match self.attempt(batch) {
                Ok(()) => {
                    // Only a write shows that writing works.
                    if self.db.total_changes() != changes {
                        self.note_health(Ok(()));
                    }
                    answer_all(batch, &Ok(()));
                }
                Err(Failure::Call(at, error)) => {
                    let error = unavailable(&self.path, error);
                    log::error!("one request to the ledger has failed, others have not: {error}");
                    self.roll_back();
                    let after = batch.split_off(at + 1);
                    if let Some(failed) = batch.pop() {
                        failed.answer(&Err(error));
                    }
                    self.commit(batch);
                    *batch = after;
                }
                Err(Failure::All(error)) => {
                    let error = unavailable(&self.path, error);
                    self.note_health(Err(error.clone()));
                    self.roll_back();
                    answer_all(batch, &Err(error));
                }
            }
        }
    }

    /// Stores the outcome of a write. Logs when writing begins to fail, and when it succeeds again.
    fn note_health(&self, outcome: Result<(), Unavailable>) {
        let mut health = locked(&self.health);
        match (&*health, &outcome) {
            (Ok(()), Err(error)) => log::error!("{error}"),
            (Err(_), Ok(())) => log::warn!("{}: can be written again", self.path.display()),
            _ => {}
        }
        *health = outcome;
    }

    fn roll_back(&mut self) {
        if !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            log::error!("{}", unavailable(&self.path, error));
        }
        // The state is loaded at once, so that hints are right. If that fails, it is loaded before the next
        // batch.
        self.stale = self.state.load(&self.db).is_err();
    }

    fn attempt(&mut self, batch: &mut [Box<dyn Work>]) -> Result<(), Failure> {
        if self.stale {
            self.state.load(&self.db).map_err(Failure::All)?;
            self.stale = false;
        }
        self.execute("BEGIN IMMEDIATE")?;
        for (at, work) in batch.iter_mut().enumerate() {
            if let Err(error) = work.run(&mut self.state, &self.db) {
                // An error of the disk has ended the transaction already.
                let own = is_of_statement(&error) && !self.db.is_autocommit();
                return Err(match own {
                    true => Failure::Call(at, error),
                    false => Failure::All(error),
                });
            }
        }
        self.state.write_counters(&self.db).map_err(Failure::All)?;
        self.execute("COMMIT")?;
        self.state.show();
        Ok(())
    }

    fn execute(&self, sql: &'static str) -> Result<(), Failure> {
        let done = self.db.with(sql, |statement| statement.execute([]));
        done.map(drop).map_err(Failure::All)
    }
}

fn answer_all(batch: &mut Vec<Box<dyn Work>>, outcome: &Result<(), Unavailable>) {
    for work in batch.drain(..) {
        work.answer(outcome);
    }
}

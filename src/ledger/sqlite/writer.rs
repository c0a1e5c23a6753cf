//! The thread that writes: many calls, one transaction, one sync.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::super::Unavailable;
use super::books::{Books, locked};
use super::error::{OpenError, unavailable};
use super::open::Opened;

/// The most calls in one transaction: bounds how long its first call waits.
const BATCH: usize = 512;
/// The most calls that wait. Further ones wait for their place.
const WAITING: usize = 4096;

/// Where this many calls came together, as many are on their way: the next transaction waits
/// this long for them. A sync costs as much for one call as for hundreds, so it is the number
/// of syncs that a busy gate pays for. One that is not busy does not wait.
const COMPANY: usize = 4;
const GATHER: Duration = Duration::from_micros(400);

/// The way to the writing thread.
pub(super) struct Writer {
    inbox: Option<mpsc::Sender<Box<dyn Work>>>,
    thread: Option<JoinHandle<()>>,
    health: Arc<Mutex<Result<(), Unavailable>>>,
}

impl Writer {
    pub(super) fn start(opened: Opened, books: Books) -> Result<Self, OpenError> {
        let (sender, inbox) = mpsc::channel(WAITING);
        let health = Arc::new(Mutex::new(Ok(())));
        let path = opened.path.clone();
        let mut desk = Desk {
            path: opened.path,
            db: opened.db,
            books,
            stale: false,
            health: health.clone(),
            _lock: opened.lock,
        };
        desk.books
            .load(&desk.db)
            .map_err(|error| OpenError::of_sqlite(&path, &error))?;
        let thread = std::thread::Builder::new().name("ledger".into());
        let thread = thread
            .spawn(move || desk.work(inbox))
            .map_err(|error| OpenError::of_system(&path, &error))?;
        Ok(Self {
            inbox: Some(sender),
            thread: Some(thread),
            health,
        })
    }

    /// Has the thread do something, and answers once that is on disk. It is done even if
    /// nobody waits for the answer any more.
    pub(super) async fn call<T, F>(&self, run: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        F: FnOnce(&mut Books, &Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let stopped = || Unavailable("its thread has stopped: restart the gate".into());
        let (reply, answer) = oneshot::channel();
        let call = Call {
            run: Some(run),
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
        // Writes the first page as it is.
        let probe = |_: &mut Books, db: &Connection| {
            let version: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            db.pragma_update(None, "user_version", version)
        };
        self.call(probe).await?;
        *locked(&self.health) = Ok(());
        Ok(())
    }

    /// Waits until all that was asked for is done and the file is closed.
    pub(super) fn stop(&mut self) {
        self.inbox = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the ledger's thread has panicked");
        }
    }
}

/// A call on its way through a transaction.
trait Work: Send {
    fn run(&mut self, books: &mut Books, db: &Connection) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, outcome: &Result<(), Unavailable>);
}

struct Call<T, F> {
    run: Option<F>,
    done: Option<T>,
    reply: oneshot::Sender<Result<T, Unavailable>>,
}

impl<T, F> Work for Call<T, F>
where
    T: Send,
    F: FnOnce(&mut Books, &Connection) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, books: &mut Books, db: &Connection) -> rusqlite::Result<()> {
        if let Some(run) = self.run.take() {
            self.done = Some(run(books, db)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: &Result<(), Unavailable>) {
        let answer = match (outcome, self.done) {
            (Err(error), _) => Err(error.clone()),
            (Ok(()), Some(done)) => Ok(done),
            // Cannot be: what is committed has run.
            (Ok(()), None) => Err(Unavailable("it was not asked".into())),
        };
        // Whoever asked may be gone.
        let _ = self.reply.send(answer);
    }
}

/// What the thread works with.
struct Desk {
    path: PathBuf,
    db: Connection,
    books: Books,
    /// Whether the books in memory may differ from those on disk.
    stale: bool,
    health: Arc<Mutex<Result<(), Unavailable>>>,
    _lock: File,
}

impl Desk {
    fn work(mut self, mut inbox: mpsc::Receiver<Box<dyn Work>>) {
        let mut batch = Vec::with_capacity(BATCH);
        while inbox.blocking_recv_many(&mut batch, BATCH) > 0 {
            let busy = batch.len() >= COMPANY;
            let outcome = self.commit(&mut batch);
            for work in batch.drain(..) {
                work.answer(&outcome);
            }
            if busy {
                std::thread::sleep(GATHER);
            }
        }
        let checkpoint = self
            .db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = checkpoint {
            // Nothing is lost: the next opening reads the log.
            log::warn!("{}", unavailable(&self.path, &error));
        }
    }

    /// All of a batch, or nothing of it.
    fn commit(&mut self, batch: &mut [Box<dyn Work>]) -> Result<(), Unavailable> {
        let changes = self.db.total_changes();
        let outcome = self.attempt(batch);
        let Err(error) = outcome else {
            // Only what was written shows that writing works.
            if self.db.total_changes() != changes {
                let mut health = locked(&self.health);
                if health.is_err() {
                    log::warn!("{}: can be written again", self.path.display());
                    *health = Ok(());
                }
            }
            return Ok(());
        };
        let error = unavailable(&self.path, &error);
        let mut health = locked(&self.health);
        if health.is_ok() {
            log::error!("{error}");
        }
        *health = Err(error.clone());
        drop(health);
        self.stale = true;
        if !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            log::error!("{}", unavailable(&self.path, &error));
        }
        // So that hints are right at once. Where it fails, the next batch begins with it.
        self.stale = self.books.load(&self.db).is_err();
        Err(error)
    }

    fn attempt(&mut self, batch: &mut [Box<dyn Work>]) -> rusqlite::Result<()> {
        if self.stale {
            self.books.load(&self.db)?;
            self.stale = false;
        }
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for work in batch {
            work.run(&mut self.books, &self.db)?;
        }
        self.books.write_counters(&self.db)?;
        self.db.prepare_cached("COMMIT")?.execute([])?;
        self.books.show();
        Ok(())
    }
}

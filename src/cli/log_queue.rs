//! A queue of log lines, which a thread of its own writes, so that a slow or stalled reader of the log
//! does not delay requests.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The maximum number of lines in the queue. Further lines are dropped, and counted.
const WAITING: usize = 8192;

/// The number of bytes of queued lines after which they are written.
const BATCH_BYTES: usize = 64 * 1024;

/// The pause after each write, in which further lines gather.
const PAUSE: Duration = Duration::from_millis(5);

/// The maximum time that a process that ends waits for its queued lines to be written.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// The counts of this process's queue; not set while lines are written without a queue.
static QUEUED: OnceLock<Arc<Queued>> = OnceLock::new();

/// The numbers of lines queued and written since the start, and of lines dropped since the last write.
#[derive(Default)]
struct Queued {
    accepted: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
}

/// A writer that queues log lines; each call of `write` takes one whole line.
pub(super) struct Lines {
    sender: SyncSender<Vec<u8>>,
    queued: Arc<Queued>,
}

impl Lines {
    /// Starts the thread that writes queued lines to standard error.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub(super) fn to_stderr() -> io::Result<Self> {
        let lines = Self::start(io::stderr())?;
        // Only one queue is ever started in a process.
        let _ = QUEUED.set(lines.queued.clone());
        Ok(lines)
    }

    fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        let queued = Arc::<Queued>::default();
        let counts = queued.clone();
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_all(&receiver, out, &counts))?;
        Ok(Self { sender, queued })
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.sender.try_send(line.to_vec()) {
            Ok(()) => self.queued.accepted.fetch_add(1, Ordering::Relaxed),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.queued.dropped.fetch_add(1, Ordering::Relaxed)
            }
        };
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes queued lines to `out`: all that wait, up to [`BATCH_BYTES`], with one call. If lines were dropped,
/// first writes their number.
fn write_all(lines: &Receiver<Vec<u8>>, mut out: impl Write, queued: &Queued) {
    let mut batch = Vec::with_capacity(BATCH_BYTES);
    while let Ok(line) = lines.recv() {
        let dropped = queued.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            // A JSON object, which is fine as a line of text as well.
            batch.extend_from_slice(format!("{{\"log_lines_dropped\":{dropped}}}\n").as_bytes());
        }
        batch.extend_from_slice(&line);
        let mut count = 1;
        while batch.len() < BATCH_BYTES
            && let Ok(line) = lines.try_recv()
        {
            batch.extend_from_slice(&line);
            count += 1;
        }
        // An error is ignored: the log is the only place to report it.
        let _ = out.write_all(&batch);
        batch.clear();
        queued.written.fetch_add(count, Ordering::Release);
        // What comes meanwhile is written together: waking this thread for each line cost more than half of
        // a small create.
        std::thread::sleep(PAUSE);
    }
}

/// Waits, for at most [`FLUSH_WITHIN`], until all lines so far are written, before the process ends.
pub(super) fn flush() {
    let Some(queued) = QUEUED.get() else { return };
    let accepted = queued.accepted.load(Ordering::Relaxed);
    let began = Instant::now();
    while queued.written.load(Ordering::Acquire) < accepted && began.elapsed() < FLUSH_WITHIN {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// A writer that reports each write, waits until it may proceed, and hands on the text.
    struct Stalled {
        asked: Sender<()>,
        may_go: Receiver<()>,
        written: Sender<String>,
    }

    impl Write for Stalled {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.asked.send(());
            let _ = self.may_go.recv();
            let _ = self
                .written
                .send(String::from_utf8_lossy(line).into_owned());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_holds_nobody_up_and_learns_what_it_missed() {
        let ((go, may_go), (written, read)) = (channel(), channel());
        let (asked, is_asked) = channel();
        let stalled = Stalled {
            asked,
            may_go,
            written,
        };
        let mut lines = Lines::start(stalled).unwrap();
        lines.write_all(b"0\n").unwrap();
        is_asked.recv().unwrap();
        for number in 1..WAITING + 100 {
            // The call returns although nobody reads.
            lines.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        assert_eq!(lines.queued.dropped.load(Ordering::Relaxed), 99);
        drop(go);
        assert_eq!(read.recv().unwrap(), "0\n");
        let next = read.recv().unwrap();
        let (told, accepted) = next.split_once('\n').unwrap();
        assert!(told.starts_with("{\"log_lines_dropped\":"), "{told}");
        // Accepted lines come whole and in order, many with one call.
        assert!(accepted.starts_with("1\n2\n3\n"), "{accepted}");
        assert!(accepted.ends_with('\n'), "{accepted}");
    }
}

//! Hands lines of the log to a thread that writes them: who reads them slowly, or not at all, holds
//! up no request.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How many lines wait to be written. Further ones are dropped, and counted.
const WAITING: usize = 8192;

/// How long a process that ends waits for the lines that it has not written yet.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// The lines that wait in this process.
static QUEUED: OnceLock<Arc<Queued>> = OnceLock::new();

/// Counts lines.
#[derive(Default)]
struct Queued {
    accepted: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
}

/// Takes whole lines, one with each call of `write`.
pub(super) struct Lines {
    sender: SyncSender<Vec<u8>>,
    queued: Arc<Queued>,
}

impl Lines {
    /// Starts the thread that writes to standard error.
    ///
    /// # Errors
    /// Where the system has no thread left.
    pub(super) fn to_stderr() -> io::Result<Self> {
        let lines = Self::start(io::stderr())?;
        // The first is the process's own, and there is no other.
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

/// Writes lines as they come, and says how many were dropped before.
fn write_all(lines: &Receiver<Vec<u8>>, mut out: impl Write, queued: &Queued) {
    while let Ok(line) = lines.recv() {
        let dropped = queued.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            // An object, which a line of text may be as well.
            let told = format!("{{\"log_lines_dropped\":{dropped}}}\n");
            let _ = out.write_all(told.as_bytes());
        }
        // Where nobody can be told, there is nobody to tell that.
        let _ = out.write_all(&line);
        queued.written.fetch_add(1, Ordering::Release);
    }
}

/// Waits, for a time, until all lines so far are written: for a process that is about to end.
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

    /// Says that it is asked to write, does so when it may, and hands on what it was.
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
            // It returns, although nobody reads.
            lines.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        assert_eq!(lines.queued.dropped.load(Ordering::Relaxed), 99);
        drop(go);
        assert_eq!(read.recv().unwrap(), "0\n");
        let told = read.recv().unwrap();
        assert!(told.starts_with("{\"log_lines_dropped\":"), "{told}");
        // What was accepted comes whole and in order.
        assert_eq!(read.recv().unwrap(), "1\n");
    }
}

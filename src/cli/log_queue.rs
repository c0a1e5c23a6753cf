//! A queue of log lines, which a thread of its own writes, so that a slow or stalled reader of the log
//! does not delay requests.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The maximum number of lines in the queue. Further lines are dropped, and counted.
const WAITING: usize = 8192;

/// The capacity, in bytes, that the queue's buffers keep after a burst of lines.
const KEPT_BYTES: usize = 1024 * 1024;

/// The number of queued lines that end the pause.
const HALF: usize = WAITING / 2;

/// The maximum pause after a write, in which further lines gather. Waking the thread costs the threads that
/// it interrupts more than their lines do: for each line it was half of a small create, and each 5 ms it is
/// still 3 % of one.
const PAUSE: Duration = Duration::from_millis(100);

/// The maximum time that a process that ends waits for its queued lines to be written.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// A queue of lines for one output.
pub(super) struct Queue {
    state: Mutex<State>,
    /// Notified when the thread has something to do: it is idle and there is a line, or it pauses and must
    /// not go on with that.
    filled: Condvar,
    /// Notified when the thread has written lines.
    written: Condvar,
}

#[derive(Default)]
struct State {
    /// The queued lines, one after the other: a buffer for each line would cost as much as the line.
    text: Vec<u8>,
    /// The number of queued lines.
    lines: usize,
    /// The number of lines dropped since the thread last took the queued ones.
    dropped: u64,
    /// Whether the thread waits for lines.
    is_idle: bool,
    /// Whether the thread is writing lines that it has taken.
    is_writing: bool,
    /// Whether somebody waits until all lines are written.
    is_urgent: bool,
}

impl Queue {
    /// Starts the thread that writes the queued lines to `out`.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self {
            state: Mutex::default(),
            filled: Condvar::new(),
            written: Condvar::new(),
        });
        let lines = queue.clone();
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || lines.write_all(out))?;
        Ok(queue)
    }

    /// Adds the line, with its line feed, that `append` appends to the text of the lines before it. Never waits
    /// for the output. The queue is locked meanwhile, so `append` must be quick and must not log.
    pub(super) fn push(&self, append: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        if state.lines == WAITING {
            state.dropped += 1;
            return;
        }
        append(&mut state.text);
        state.lines += 1;
        // A notification is a call of the system even if nobody waits for it.
        if std::mem::take(&mut state.is_idle) || state.lines == HALF {
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Waits, for at most [`FLUSH_WITHIN`], until no line is queued or being written.
    pub(super) fn flush(&self) {
        let mut state = self.state();
        state.is_urgent = true;
        self.filled.notify_one();
        let busy = |state: &mut State| state.lines > 0 || state.is_writing;
        drop(self.written.wait_timeout_while(state, FLUSH_WITHIN, busy));
    }

    /// Writes the queued lines, all of them with one call, for as long as the process lives.
    fn write_all(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        loop {
            self.take(&mut batch);
            // An error is ignored: the log is the only place to report it.
            let _ = out.write_all(&batch);
            batch.clear();
            batch.shrink_to(KEPT_BYTES);
            let mut state = self.state();
            state.is_writing = false;
            self.written.notify_all();
            let rests = |state: &mut State| state.lines < HALF && !state.is_urgent;
            drop(self.filled.wait_timeout_while(state, PAUSE, rests));
        }
    }

    /// Waits for lines and exchanges them for the empty `batch`. The number of lines that were dropped
    /// follows them: the queue was full then.
    fn take(&self, batch: &mut Vec<u8>) {
        let mut state = self.state();
        while state.lines == 0 {
            state.is_idle = true;
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        (state.is_writing, state.is_urgent) = (true, false);
        state.lines = 0;
        std::mem::swap(&mut state.text, batch);
        let dropped = std::mem::take(&mut state.dropped);
        drop(state);
        if dropped > 0 {
            // A JSON object, which is fine as a line of text as well.
            batch.extend_from_slice(format!("{{\"log_lines_dropped\":{dropped}}}\n").as_bytes());
        }
    }

    /// Locks the state. No panic can leave it half-changed, so the state of a poisoned lock is used
    /// unchanged.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A writer that reports each write, waits until it may proceed, and hands on the text.
    struct Stalled {
        asked: Sender<()>,
        may_go: Receiver<()>,
        written: Sender<String>,
    }

    impl Write for Stalled {
        fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
            let _ = self.asked.send(());
            let _ = self.may_go.recv();
            let text = String::from_utf8_lossy(lines).into_owned();
            let _ = self.written.send(text);
            Ok(lines.len())
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
        let queue = Queue::start(stalled).unwrap();
        let push = |line: &str| queue.push(|text| text.extend_from_slice(line.as_bytes()));
        push("0\n");
        is_asked.recv().unwrap();
        for number in 1..WAITING + 100 {
            // The call returns although nobody reads.
            push(&format!("{number}\n"));
        }
        drop(go);
        assert_eq!(read.recv().unwrap(), "0\n");
        // Accepted lines come whole and in order, many with one call, and then how many are missing.
        let accepted: String = (1..=WAITING).map(|number| format!("{number}\n")).collect();
        let next = read.recv().unwrap();
        assert_eq!(next, accepted + "{\"log_lines_dropped\":99}\n");
        push("again\n");
        assert_eq!(read.recv().unwrap(), "again\n");
        queue.flush();
        assert!(!queue.state().is_writing);
    }
}

//! A queue of log lines, which a thread of its own writes, so that a slow or stalled reader of the log
//! does not delay requests.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The maximum number of lines in the queue. Further lines are dropped, and counted.
const WAITING: usize = 8192;

/// The capacity, in bytes, that the queue's buffers keep after a burst of lines.
const KEPT_BYTES: usize = 1024 * 1024;

/// The number of queued lines at which the thread ends its pause early, and writes.
const HALF: usize = WAITING / 2;

/// The maximum pause after a write, in which further lines gather. Waking the thread costs more than adding a
/// line, since it interrupts other threads. A wake-up for each line cost half as much as a small create; a
/// wake-up every 5 ms still costs 3 % of a create.
const PAUSE: Duration = Duration::from_millis(100);

/// The maximum time that a process that ends waits for its queued lines to be written.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// The maximum number of bytes that are written with one call. Other writers of standard error wait until the
/// reader of the log has taken the bytes of the call.
const AT_ONCE: usize = 64 * 1024;

/// The pause before another attempt to write to a non-blocking output that is full.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// A queue of lines for one output.
pub(super) struct Queue {
    state: Mutex<State>,
    /// Notified when the thread has something to do: it is idle and there is a line, or it pauses and must
    /// end the pause.
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
    /// The number of lines queued since the start, and how many of them the thread is done with.
    accepted: u64,
    done: u64,
    /// The value of `accepted` at the last [`flush`](Queue::flush), which waits until `done` reaches it.
    wanted: u64,
    /// The number of lines lost since the last line that reported lost lines.
    dropped: u64,
    /// Whether the thread waits for lines.
    is_idle: bool,
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

    /// Adds a line to the queue: `append` appends it, with its line feed, to the text of the queued lines.
    /// Drops and counts the line if the queue is full, and never waits for the output. The queue is locked
    /// while `append` runs, so `append` must be quick and must not log.
    pub(super) fn push(&self, append: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        if state.lines == WAITING {
            state.dropped += 1;
            return;
        }
        append(&mut state.text);
        state.lines += 1;
        state.accepted += 1;
        // A notification is a call of the system even if nobody waits for it.
        if std::mem::take(&mut state.is_idle) || state.lines == HALF {
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Waits, for at most [`FLUSH_WITHIN`], until the lines so far are written.
    pub(super) fn flush(&self) {
        let mut state = self.state();
        let wanted = state.accepted;
        state.wanted = wanted;
        self.filled.notify_one();
        let is_open = |state: &mut State| state.done < wanted;
        drop(
            self.written
                .wait_timeout_while(state, FLUSH_WITHIN, is_open),
        );
    }

    /// Writes the queued lines, as many as possible with one call, for as long as the process lives.
    fn write_all(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        loop {
            let taken = self.take(&mut batch);
            let lost = write_lines(&mut out, &batch);
            batch.clear();
            batch.shrink_to(KEPT_BYTES);
            let mut state = self.state();
            state.done = taken;
            state.dropped += lost;
            self.written.notify_all();
            let rests = |state: &mut State| state.lines < HALF && state.wanted <= state.done;
            drop(self.filled.wait_timeout_while(state, PAUSE, rests));
        }
    }

    /// Waits for lines and moves them to the empty `batch`, followed by the number of lines that were lost
    /// since the last call, if any. Returns the number of lines taken since the start.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        let mut state = self.state();
        while state.lines == 0 {
            state.is_idle = true;
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.lines = 0;
        std::mem::swap(&mut state.text, batch);
        let (taken, dropped) = (state.accepted, std::mem::take(&mut state.dropped));
        drop(state);
        if dropped > 0 {
            // A JSON object, which is fine as a line of text as well.
            batch.extend_from_slice(format!("{{\"log_lines_dropped\":{dropped}}}\n").as_bytes());
        }
        taken
    }

    /// Locks the state. A panic while it was locked leaves half a line at most, so the state of a poisoned
    /// lock is used unchanged.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes lines to `out`, with calls of whole lines and at most [`AT_ONCE`] bytes. Longer lines are split.
/// Returns the number of lines that were lost by errors of the output.
fn write_lines(out: &mut impl Write, mut lines: &[u8]) -> u64 {
    let mut lost = 0;
    while !lines.is_empty() {
        let fitting = lines.get(..AT_ONCE).unwrap_or(lines);
        let whole = memchr::memrchr(b'\n', fitting).map_or(fitting.len(), |end| end + 1);
        let (now, rest) = lines.split_at(whole);
        if write_whole(out, now).is_err() {
            lost += now.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        lines = rest;
    }
    lost
}

/// Writes all of `text`. Waits while the output is full, even if the output is non-blocking.
fn write_whole(out: &mut impl Write, mut text: &[u8]) -> io::Result<()> {
    while !text.is_empty() {
        match out.write(text) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => text = text.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(FULL_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
        let state = queue.state();
        assert_eq!(state.done, state.accepted);
    }

    /// A writer that takes seven bytes, then fails as it is told, and so on. It hands on what it took.
    struct Failing {
        errors: Vec<io::ErrorKind>,
        fails: bool,
        written: Vec<u8>,
    }

    impl Write for Failing {
        fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
            self.fails = !self.fails;
            match self.errors.pop() {
                Some(error) if self.fails => Err(error.into()),
                _ => {
                    let taken = lines.len().min(7);
                    self.written.extend_from_slice(&lines[..taken]);
                    Ok(taken)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_output_that_is_full_or_interrupted_gets_each_byte_once() {
        use io::ErrorKind::{Interrupted, WouldBlock};
        let mut out = Failing {
            errors: vec![
                WouldBlock,
                Interrupted,
                Interrupted,
                WouldBlock,
                Interrupted,
            ],
            fails: false,
            written: Vec::new(),
        };
        assert_eq!(
            write_lines(&mut out, b"a line\nanother line\nthe third line\n"),
            0
        );
        assert_eq!(out.written, b"a line\nanother line\nthe third line\n");
    }

    #[test]
    fn what_an_error_loses_is_counted_and_the_rest_is_written() {
        let line = [[b'x'; 99].as_slice(), b"\n"].concat();
        let lines = line.repeat(1000);
        let mut out = Failing {
            errors: vec![io::ErrorKind::BrokenPipe],
            fails: false,
            written: Vec::new(),
        };
        // Whole lines are written with one call, as many as fit.
        let first = AT_ONCE / line.len();
        assert_eq!(write_lines(&mut out, &lines), first as u64);
        assert_eq!(out.written, line.repeat(1000 - first));
    }
}

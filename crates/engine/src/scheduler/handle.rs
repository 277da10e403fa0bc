//! A scheduler on a thread of its own.

use super::{Job, Scheduler, Stats};
use crate::backend::Backend;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many jobs wait as may.
    #[error("{0} requests are waiting already; try again later")]
    Full(usize),
    /// The scheduler has ended.
    #[error("the engine has stopped")]
    Stopped,
}

struct Shared {
    /// Jobs sent and not yet started.
    queued: AtomicUsize,
    limit: usize,
    stopping: AtomicBool,
    stats: Mutex<Stats>,
}

/// Gives jobs to a scheduler. Cheap to clone; the scheduler ends when it is stopped or the last handle is gone.
#[derive(Clone)]
pub struct Handle {
    sender: Sender<Job>,
    shared: Arc<Shared>,
}

impl Handle {
    /// Starts a thread that runs `scheduler`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start<B: Backend + 'static>(scheduler: Scheduler<B>) -> std::io::Result<(Self, JoinHandle<()>)>
    where
        Scheduler<B>: Send,
    {
        let (sender, receiver) = channel();
        let shared = Arc::new(Shared {
            queued: AtomicUsize::new(0),
            limit: scheduler.options.queue,
            stopping: AtomicBool::new(false),
            stats: Mutex::new(scheduler.stats()),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("ds4-engine".to_owned())
            .spawn(move || run(scheduler, &receiver, &of_thread))?;
        Ok((Self { sender, shared }, thread))
    }

    /// Lets a job wait for its turn.
    ///
    /// # Errors
    /// Too many wait already, or the scheduler has ended.
    pub fn submit(&self, job: Job) -> Result<(), Refused> {
        let shared = &self.shared;
        if shared.stopping.load(Ordering::Acquire) {
            return Err(Refused::Stopped);
        }
        let count = |queued| (queued < shared.limit).then_some(queued + 1);
        if shared.queued.fetch_update(Ordering::AcqRel, Ordering::Acquire, count).is_err() {
            return Err(Refused::Full(shared.limit));
        }
        self.sender.send(job).map_err(|_| Refused::Stopped)
    }

    /// What the scheduler did and does, as of its last step.
    pub fn stats(&self) -> Stats {
        let stats = *self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner);
        Stats { queued: self.shared.queued.load(Ordering::Acquire), ..stats }
    }

    /// Ends every job and then the thread, within a step.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
    }
}

/// How long an idle scheduler sleeps before it looks whether it was stopped.
const IDLE: std::time::Duration = std::time::Duration::from_millis(50);

fn run<B: Backend + 'static>(mut scheduler: Scheduler<B>, receiver: &Receiver<Job>, shared: &Shared) {
    let mut connected = true;
    while !shared.stopping.load(Ordering::Acquire) {
        loop {
            match receiver.try_recv() {
                Ok(job) => scheduler.submit(job),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    connected = false;
                    break;
                }
            }
        }
        let waiting = scheduler.queue.len();
        let busy = scheduler.step();
        let started = waiting - scheduler.queue.len();
        shared.queued.fetch_sub(started, Ordering::AcqRel);
        *shared.stats.lock().unwrap_or_else(PoisonError::into_inner) = scheduler.stats();
        if busy {
            continue;
        }
        if !connected {
            break;
        }
        if let Ok(job) = receiver.recv_timeout(IDLE) {
            scheduler.submit(job);
        }
    }
    shared.stopping.store(true, Ordering::Release);
    scheduler.queue.extend(receiver.try_iter());
    scheduler.stop();
}

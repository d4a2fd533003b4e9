//! Worker threads that stay: a call wakes them and works beside them, no thread is ever started per call.

use std::cell::UnsafeCell;
use std::ops::Range;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock};

/// A slice that several tasks write in different places.
pub struct Shared<T> {
    start: *mut T,
    length: usize,
}

// SAFETY: tasks write disjoint places, which `slice` leaves to its caller to keep.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn new(slice: &mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            length: slice.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// # Safety
    /// No other task may hold any of these places.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice(&self, at: usize, count: usize) -> &mut [T] {
        assert!(at + count <= self.length);
        // SAFETY: inside the slice; the caller promises that nobody else writes here.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), count) }
    }
}

type Task<'a> = dyn Fn(usize) + Sync + 'a;

/// What is being worked on: the number of the round, how many parts it has, and the next one that nobody has taken.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Ticket {
    round: u32,
    parts: u16,
    next: u16,
}

impl Ticket {
    fn pack(self) -> u64 {
        (self.round as u64) << 32 | (self.parts as u64) << 16 | self.next as u64
    }

    fn unpack(word: u64) -> Self {
        Self {
            round: (word >> 32) as u32,
            parts: (word >> 16) as u16,
            next: word as u16,
        }
    }
}

struct Pool {
    process: u32,
    ticket: AtomicU64,
    /// parts of this round that are done
    done: AtomicUsize,
    /// the task of this round; written only while no part is being worked on
    task: UnsafeCell<Option<&'static Task<'static>>>,
    sleep: Mutex<()>,
    posted: Condvar,
    workers: AtomicUsize,
    entry: Mutex<()>,
}

// SAFETY: `task` is written by whoever holds `entry`, before the ticket that lets others read it.
unsafe impl Sync for Pool {}

static WANTED: AtomicUsize = AtomicUsize::new(0);
static CORES: OnceLock<usize> = OnceLock::new();
static POOL: AtomicPtr<Pool> = AtomicPtr::new(std::ptr::null_mut());
const SPINS: usize = 5_000; // the wait between two products of one forward

/// Threads that a call may use, its own included.
pub fn threads() -> usize {
    match WANTED.load(Ordering::Relaxed) {
        // the system answers by reading files of its own, which takes longer than a small product
        0 => *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, |n| n.get())),
        n => n,
    }
}

pub fn set_threads(count: usize) {
    WANTED.store(count, Ordering::Relaxed);
}

impl Pool {
    fn new(process: u32) -> Self {
        Self {
            process,
            ticket: AtomicU64::new(0),
            done: AtomicUsize::new(0),
            task: UnsafeCell::new(None),
            sleep: Mutex::new(()),
            posted: Condvar::new(),
            workers: AtomicUsize::new(0),
            entry: Mutex::new(()),
        }
    }

    fn ticket(&self) -> Ticket {
        Ticket::unpack(self.ticket.load(Ordering::Acquire))
    }

    /// Takes a part that nobody has taken, does it, and says whether there was one.
    fn help(&self) -> bool {
        let seen = self.ticket.load(Ordering::Acquire);
        let ticket = Ticket::unpack(seen);
        if ticket.next >= ticket.parts {
            return false;
        }
        let taken =
            self.ticket
                .compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed);
        if taken.is_ok() {
            // SAFETY: until this part is done, the round does not end and its task stays.
            if let Some(task) = unsafe { *self.task.get() } {
                task(ticket.next as usize);
            }
            self.done.fetch_add(1, Ordering::Release);
        }
        true
    }
}

/// The pool of this process. A forked child inherits the memory of its parent's pool, but none of its threads, and
/// perhaps locks that nobody will ever open: it leaves that one alone and has its own.
fn pool() -> &'static Pool {
    let process = std::process::id();
    loop {
        let found = POOL.load(Ordering::Acquire);
        // SAFETY: pools are leaked, so a pointer that was stored stays valid.
        if let Some(pool) = unsafe { found.as_ref() }
            && pool.process == process
        {
            return pool;
        }
        let fresh = Box::into_raw(Box::new(Pool::new(process)));
        let won = POOL.compare_exchange(found, fresh, Ordering::AcqRel, Ordering::Acquire);
        if won.is_err() {
            // SAFETY: nobody else has seen it.
            drop(unsafe { Box::from_raw(fresh) });
        }
    }
}

fn work(pool: &Pool) {
    loop {
        while pool.help() {}
        let seen = pool.ticket();
        for _ in 0..SPINS {
            if pool.ticket() != seen {
                break;
            }
            std::hint::spin_loop();
        }
        let mut asleep = pool.sleep.lock().unwrap();
        while pool.ticket() == seen && seen.next >= seen.parts {
            asleep = pool.posted.wait(asleep).unwrap();
        }
    }
}

/// Runs `task(0..count)`, each number once, and returns when all are done. The caller takes part after part, and workers
/// take what they come to: one that the system lets wait is not waited for. While another thread's task has the
/// workers, the caller does everything itself.
fn run(count: usize, task: &Task<'_>) {
    let pool = pool();
    let Ok(_entry) = pool.entry.try_lock() else {
        return (0..count).for_each(task);
    };
    while pool.workers.load(Ordering::Relaxed) < count - 1 {
        let number = pool.workers.fetch_add(1, Ordering::Relaxed) + 1;
        std::thread::Builder::new()
            .name(format!("bowstring-{number}"))
            .spawn(move || work(pool))
            .unwrap();
    }
    // SAFETY: all parts of the round before are done, so nobody reads it; the loop below waits until no worker uses this
    // task any more.
    unsafe {
        let lasting = std::mem::transmute::<&Task<'_>, &'static Task<'static>>(task);
        *pool.task.get() = Some(lasting);
    }
    pool.done.store(0, Ordering::Relaxed);
    let ticket = Ticket {
        round: pool.ticket().round.wrapping_add(1),
        parts: count as u16,
        next: 0,
    };
    pool.ticket.store(ticket.pack(), Ordering::Release);
    drop(pool.sleep.lock().unwrap()); // who is about to sleep has seen the ticket, or sleeps and is woken
    pool.posted.notify_all();
    while pool.help() {}
    let mut spins = 0;
    while pool.done.load(Ordering::Acquire) != count {
        spins += 1;
        if spins > SPINS {
            std::thread::yield_now()
        } else {
            std::hint::spin_loop()
        }
    }
}

/// Cuts `0..count` into parts of whole multiples of `grain`, one per thread; `units` of work bound how many are worth it.
pub fn split(count: usize, grain: usize, units: usize, part: impl Fn(Range<usize>) + Sync) {
    let most = threads().min(u16::MAX as usize);
    let parts = most.min(count.div_ceil(grain)).min(units.max(1));
    if parts <= 1 {
        return part(0..count);
    }
    let grains = count.div_ceil(grain);
    run(parts, &|i| {
        let edge = |i: usize| (grains * i / parts * grain).min(count);
        part(edge(i)..edge(i + 1))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_done_once_by_whoever_comes_however_many_ask() {
        set_threads(4);
        let ask = || {
            for round in 1..2000 {
                let count = 1 + round % 7;
                let done: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                split(count, 1, count, |part| {
                    for i in part {
                        done[i].fetch_add(1, Ordering::Relaxed);
                        if i == 3 {
                            split(2, 1, 2, |_| ()); // a part that asks for help itself
                        }
                    }
                });
                assert!(done.iter().all(|one| one.load(Ordering::Relaxed) == 1));
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(ask);
            }
        });
    }
}

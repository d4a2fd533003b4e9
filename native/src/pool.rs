//! Worker threads that stay: a call wakes them and does its own share, no thread is ever started per call.

use std::ops::Range;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

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

/// The task of the moment, its number of parts, and how many are still being worked on.
struct Board {
    task: Option<&'static Task<'static>>,
    round: usize,
}

struct Pool {
    process: u32,
    board: Mutex<Board>,
    posted: Condvar,
    round: AtomicUsize,
    busy: AtomicUsize,
    workers: AtomicUsize,
    entry: Mutex<()>,
}

static WANTED: AtomicUsize = AtomicUsize::new(0);
static POOL: AtomicPtr<Pool> = AtomicPtr::new(std::ptr::null_mut());
const SPINS: usize = 20_000;

/// Threads that a call may use, its own included.
pub fn threads() -> usize {
    match WANTED.load(Ordering::Relaxed) {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
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
            board: Mutex::new(Board {
                task: None,
                round: 0,
            }),
            posted: Condvar::new(),
            round: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            workers: AtomicUsize::new(0),
            entry: Mutex::new(()),
        }
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

fn work(pool: &Pool, number: usize, mut seen: usize) {
    loop {
        for _ in 0..SPINS {
            if pool.round.load(Ordering::Acquire) != seen {
                break;
            }
            std::hint::spin_loop();
        }
        let task = {
            let mut board = pool.board.lock().unwrap();
            while board.round == seen {
                board = pool.posted.wait(board).unwrap();
            }
            seen = board.round;
            board.task
        };
        if let Some(task) = task {
            task(number);
            pool.busy.fetch_sub(1, Ordering::Release);
        }
    }
}

/// Runs `task(0..count)`, each number once, on the caller and its workers; returns when all are done.
fn run(count: usize, task: &Task<'_>) {
    let pool = pool();
    let _entry = pool.entry.lock().unwrap();
    while pool.workers.load(Ordering::Relaxed) < count - 1 {
        let number = pool.workers.fetch_add(1, Ordering::Relaxed) + 1;
        let seen = pool.round.load(Ordering::Relaxed);
        std::thread::Builder::new()
            .name(format!("bowstring-{number}"))
            .spawn(move || work(pool, number, seen))
            .unwrap();
    }
    let only = |number: usize| {
        if number < count {
            task(number)
        }
    };
    let only: &Task<'_> = &only;
    // SAFETY: the loop below waits until no worker uses the task any more.
    let lasting = unsafe { std::mem::transmute::<&Task<'_>, &'static Task<'static>>(only) };
    pool.busy
        .store(pool.workers.load(Ordering::Relaxed), Ordering::Relaxed);
    {
        let mut board = pool.board.lock().unwrap();
        board.task = Some(lasting);
        board.round += 1;
        pool.round.store(board.round, Ordering::Release);
    }
    pool.posted.notify_all();
    task(0);
    let mut spins = 0;
    while pool.busy.load(Ordering::Acquire) != 0 {
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
    let parts = threads().min(count.div_ceil(grain)).min(units.max(1));
    if parts <= 1 {
        return part(0..count);
    }
    let grains = count.div_ceil(grain);
    run(parts, &|i| {
        let edge = |i: usize| (grains * i / parts * grain).min(count);
        part(edge(i)..edge(i + 1))
    });
}

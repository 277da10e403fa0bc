//! An orderly end when a mapped file shrinks underneath the process.
//!
//! Touching a page that is no longer in the file raises SIGBUS, whose default is to die without a
//! word. The handler here recognises such a fault by its address and says what happened. Everything it
//! does is async-signal-safe: it reads atomics and calls `write` and `_exit`.

#[cfg(not(unix))]
pub(crate) use other::Watch;
#[cfg(not(unix))]
pub use other::install_truncation_handler;
#[cfg(unix)]
pub(crate) use unix::Watch;
#[cfg(unix)]
pub use unix::install_truncation_handler;

#[cfg(unix)]
#[allow(unsafe_code)]
mod unix {
    use std::io;
    use std::path::Path;
    use std::ptr;
    use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
    use std::sync::{Mutex, OnceLock, PoisonError};

    /// Maps watched at a time; a process has two or three. Further ones work, but a fault in them
    /// ends the process without a message.
    const MAPS_MAX: usize = 64;

    /// Bytes of a file's name that the message repeats.
    const NAME_BYTES_MAX: usize = 128;

    const BEFORE_NAME: &[u8] = b"ds4: model file '";
    const AFTER_NAME: &[u8] = b"' was shortened or became unreadable while in use; restore it and start again\n";
    const MESSAGE_BYTES_MAX: usize = BEFORE_NAME.len() + NAME_BYTES_MAX + AFTER_NAME.len();

    /// Status with which the process ends.
    const EXIT_STATUS: i32 = 1;

    /// The address range of one map. Free while `start` is zero, ignored while `len` is zero.
    struct Slot {
        start: AtomicUsize,
        len: AtomicUsize,
        name_len: AtomicUsize,
        name: [AtomicU8; NAME_BYTES_MAX],
    }

    static SLOTS: [Slot; MAPS_MAX] = [const {
        Slot {
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            name_len: AtomicUsize::new(0),
            name: [const { AtomicU8::new(0) }; NAME_BYTES_MAX],
        }
    }; MAPS_MAX];

    /// What SIGBUS did before the handler was installed.
    static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

    /// Makes a map known to the handler for as long as this lives.
    #[derive(Debug)]
    pub(crate) struct Watch {
        slot: Option<usize>,
    }

    impl Watch {
        pub(crate) fn new(map: &[u8], path: &Path) -> Self {
            let start = map.as_ptr().addr();
            let free = |slot: &Slot| slot.start.compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            let slot = SLOTS.iter().position(free);
            if let Some(slot) = slot.map(|index| &SLOTS[index]) {
                slot.set_name(path);
                // Last: a length makes the slot valid.
                slot.len.store(map.len(), Ordering::Release);
            }
            Self { slot }
        }
    }

    impl Drop for Watch {
        fn drop(&mut self) {
            if let Some(slot) = self.slot.map(|index| &SLOTS[index]) {
                slot.len.store(0, Ordering::Release);
                slot.start.store(0, Ordering::Release);
            }
        }
    }

    impl Slot {
        fn set_name(&self, path: &Path) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let printable = name.bytes().map(|byte| if byte < b' ' { b'?' } else { byte });
            let mut len = 0;
            for (cell, byte) in self.name.iter().zip(printable) {
                cell.store(byte, Ordering::Relaxed);
                len += 1;
            }
            self.name_len.store(len, Ordering::Relaxed);
        }

        fn contains(&self, address: usize) -> bool {
            let len = self.len.load(Ordering::Acquire);
            address.wrapping_sub(self.start.load(Ordering::Acquire)) < len
        }

        fn message(&self) -> ([u8; MESSAGE_BYTES_MAX], usize) {
            let mut text = [0; MESSAGE_BYTES_MAX];
            let name = &self.name[..self.name_len.load(Ordering::Relaxed).min(NAME_BYTES_MAX)];
            let name = name.iter().map(|cell| cell.load(Ordering::Relaxed));
            let bytes = BEFORE_NAME.iter().copied().chain(name).chain(AFTER_NAME.iter().copied());
            let mut len = 0;
            for (to, from) in text.iter_mut().zip(bytes) {
                *to = from;
                len += 1;
            }
            (text, len)
        }
    }

    /// Installs the handler for SIGBUS, once per process; later calls do nothing.
    ///
    /// A fault inside a file mapped by this crate then prints one line to standard error and ends the
    /// process with status 1. On any other fault the previous action is put back and the fault recurs.
    ///
    /// # Errors
    /// The operating system refused.
    pub fn install_truncation_handler() -> io::Result<()> {
        static INSTALLING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
        if PREVIOUS.get().is_some() {
            return Ok(());
        }
        let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_fault;
        // SAFETY: `sigaction` is plain data for which zero is valid; the handler has the signature
        // that SA_SIGINFO asks for and does only async-signal-safe work; all pointers are to live
        // values. The alternative stack lets a fault of an overflowing stack be passed on.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            let mut previous: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(libc::SIGBUS, &action, &mut previous) != 0 {
                return Err(io::Error::last_os_error());
            }
            // A fault elsewhere before this line would get the default action, which is fatal too.
            let _ = PREVIOUS.set(previous);
        }
        Ok(())
    }

    extern "C" fn on_fault(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: with SA_SIGINFO the kernel passes a valid `siginfo_t`, which has an address for
        // SIGBUS.
        let address = unsafe { (*info).si_addr() }.addr();
        if let Some(slot) = SLOTS.iter().find(|slot| slot.contains(address)) {
            let (text, len) = slot.message();
            // SAFETY: both calls are async-signal-safe; `text` has at least `len` bytes.
            unsafe {
                libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), len);
                libc::_exit(EXIT_STATUS);
            }
        }
        // Not ours. Returning repeats the faulting instruction under the previous action.
        // SAFETY: zero is a valid `sigaction` (the default action); `sigaction` is async-signal-safe.
        unsafe {
            let default: libc::sigaction = std::mem::zeroed();
            let action = PREVIOUS.get().unwrap_or(&default);
            libc::sigaction(libc::SIGBUS, action, ptr::null_mut());
        }
    }
}

#[cfg(not(unix))]
mod other {
    use std::io;
    use std::path::Path;

    /// Nothing to watch: the system refuses to shorten a mapped file.
    #[derive(Debug)]
    pub(crate) struct Watch;

    impl Watch {
        pub(crate) fn new(_: &[u8], _: &Path) -> Self {
            Self
        }
    }

    /// Does nothing here: only Unix systems let a mapped file be shortened.
    ///
    /// # Errors
    /// None on this system.
    pub fn install_truncation_handler() -> io::Result<()> {
        Ok(())
    }
}

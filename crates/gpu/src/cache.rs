//! KV states on the device: pages in arenas, frontiers in slots.
//!
//! Every layer has two buffers. Its *arena* holds the compressed rows of all pages, page after page; a page has one number for
//! all layers. Its *frontier* holds the window ring and the open compressor windows of all sequences, slot after slot.
//! Both double when they are full. Numbers come back when their owners are dropped, which touches no device: commands run in
//! order, so whoever gets a number next cannot disturb what was recorded before.

use crate::gpu::{Buffer, Gpu};
use crate::shape::Shape;
use ds4_engine::kv::PAGE_TOKENS;
use ds4_engine::{Error, Result};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard};

const COPY: &str = include_str!("kernels/attention/copy.wgsl");
/// Threads of the copying kernel.
const COPY_THREADS: u32 = 256;
/// Pages that the arenas hold at first.
const PAGES_MIN: u32 = 16;
/// Slots that the frontiers hold at first.
const SLOTS_MIN: u32 = 2;

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Numbers below a limit, each with at most one owner.
#[derive(Default)]
struct Numbers(Mutex<Unused>);

#[derive(Default)]
struct Unused {
    returned: Vec<u32>,
    next: u32,
    limit: u32,
}

/// Owner of a number.
struct Owned {
    number: u32,
    numbers: Arc<Numbers>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        locked(&self.numbers.0).returned.push(self.number);
    }
}

impl Numbers {
    /// A number that nobody has; without one the present limit.
    fn take(self: &Arc<Self>) -> std::result::Result<Owned, u32> {
        let mut unused = locked(&self.0);
        let number = match unused.returned.pop() {
            Some(number) => number,
            None if unused.next < unused.limit => {
                unused.next += 1;
                unused.next - 1
            }
            None => return Err(unused.limit),
        };
        Ok(Owned { number, numbers: Arc::clone(self) })
    }

    fn set_limit(&self, limit: u32) {
        locked(&self.0).limit = limit;
    }
}

/// A page: compressed rows of [`PAGE_TOKENS`] tokens in all layers.
pub struct Page(Owned);

impl Page {
    /// Its number in the arenas.
    pub(crate) fn number(&self) -> u32 {
        self.0.number
    }
}

/// KV state of one sequence.
pub struct Cache {
    pool: Arc<Pool>,
    /// Without one, a fork did not succeed.
    slot: Option<Owned>,
    pub(crate) pages: Vec<Arc<Page>>,
}

impl Clone for Cache {
    /// A fork. Where the device has no memory for it, the next use says so.
    fn clone(&self) -> Self {
        let slot = self.slot.as_ref().and_then(|slot| self.pool.fork(slot).ok());
        Self { pool: Arc::clone(&self.pool), slot, pages: self.pages.clone() }
    }
}

impl Cache {
    /// Where it lies.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Makes it the state of its first `tokens` tokens: what later ones left in the rings and in the open page is written again before it
    /// is read.
    pub(crate) fn take_back(&mut self, tokens: usize) {
        self.pages.truncate(self.pool.shape.layout.pages(tokens));
    }

    /// The number of its slot.
    ///
    /// # Errors
    /// It is a fork that found no memory.
    pub(crate) fn slot(&self) -> Result<u32> {
        let slot = self.slot.as_ref().map(|slot| slot.number);
        slot.ok_or_else(|| {
            Error::Device("no memory is left for another conversation; end some, or lower --ctx".to_owned())
        })
    }

    /// Its page number `index`.
    ///
    /// # Panics
    /// There are fewer.
    pub fn page(&self, index: usize) -> &Page {
        &self.pages[index]
    }

    /// Numbers of its pages in the arenas.
    pub fn page_numbers(&self) -> Vec<u32> {
        self.pages.iter().map(|page| page.number()).collect()
    }

    /// Pages that another state has too.
    pub fn shared_pages(&self) -> usize {
        self.pages.iter().filter(|page| Arc::strong_count(page) > 1).count()
    }

    /// The pages that the first `tokens` tokens filled. They never change again.
    pub fn finished_pages(&self, tokens: usize) -> &[Arc<Page>] {
        &self.pages[..(tokens / PAGE_TOKENS).min(self.pages.len())]
    }
}

/// Buffers of one layer.
pub(crate) struct LayerMemory {
    /// Pages; 16 bytes for layers without compressed rows.
    pub arena: Buffer,
    /// Slots.
    pub frontier: Buffer,
}

/// The KV memory of all sequences of a device.
pub struct Pool {
    gpu: Arc<Gpu>,
    shape: Shape,
    layers: RwLock<Vec<LayerMemory>>,
    pages: Arc<Numbers>,
    slots: Arc<Numbers>,
}

impl Pool {
    /// Memory for a few pages and sequences; it grows.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(gpu: Arc<Gpu>, shape: Shape) -> Result<Arc<Self>> {
        let memory = |_| Ok(LayerMemory { arena: gpu.buffer("KV pages", 0)?, frontier: gpu.buffer("KV windows", 0)? });
        let layers: Result<Vec<LayerMemory>> = shape.layout.layers.iter().map(memory).collect();
        let pool = Self { layers: RwLock::new(layers?), gpu, shape, pages: Arc::default(), slots: Arc::default() };
        pool.grow_pages(0)?;
        pool.grow_slots(0)?;
        Ok(Arc::new(pool))
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Sizes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The buffers of all layers. They stay as they are until this is dropped.
    pub(crate) fn layers(&self) -> RwLockReadGuard<'_, Vec<LayerMemory>> {
        self.layers.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// State of an empty sequence.
    ///
    /// # Errors
    /// Out of memory.
    pub fn cache(self: &Arc<Self>) -> Result<Cache> {
        Ok(Cache { pool: Arc::clone(self), slot: Some(self.take_slot()?), pages: Vec::new() })
    }

    /// Makes pages for `tokens` tokens in all.
    ///
    /// # Errors
    /// Out of memory.
    pub fn reserve(&self, cache: &mut Cache, tokens: usize) -> Result<()> {
        cache.slot()?;
        while cache.pages.len() < self.shape.layout.pages(tokens) {
            cache.pages.push(Arc::new(self.take_page()?));
        }
        Ok(())
    }

    /// Gives `cache` its own copy of the pages that the tokens at `positions` are written to, if any layer has compressed rows.
    ///
    /// # Errors
    /// Out of memory; there are no such pages.
    pub(crate) fn unshare(&self, cache: &mut Cache, positions: Range<usize>) -> Result<()> {
        if self.shape.page_bytes() == 0 {
            return Ok(());
        }
        let pages = positions.start / PAGE_TOKENS..self.shape.layout.pages(positions.end);
        if pages.end > cache.pages.len() {
            return Err(Error::Device(format!("there are no pages for {} tokens", positions.end)));
        }
        for index in pages {
            if Arc::strong_count(&cache.pages[index]) > 1 {
                let (old, new) = (cache.pages[index].number(), self.take_page()?);
                // A page that begins with these tokens has nothing to keep.
                if index * PAGE_TOKENS < positions.start {
                    for (memory, layer) in self.layers().iter().zip(&self.shape.layout.layers) {
                        self.copy_within(&memory.arena, self.shape.page(layer.kind).all, old, new.number())?;
                    }
                }
                cache.pages[index] = Arc::new(new);
            }
        }
        Ok(())
    }

    /// Bytes of a sequence of `tokens` tokens that shares nothing.
    pub fn sequence_bytes(&self, tokens: usize) -> u64 {
        let pages = self.shape.layout.pages(tokens) as u64;
        pages.saturating_mul(self.shape.page_bytes()).saturating_add(self.shape.slot_bytes())
    }

    /// Bytes of `cache` but for the pages in `counted`, which gets the others.
    pub fn cache_bytes(&self, cache: &Cache, counted: &mut HashSet<usize>) -> u64 {
        let new = cache.pages.iter().filter(|page| counted.insert(Arc::as_ptr(page) as usize)).count();
        (new as u64).saturating_mul(self.shape.page_bytes()).saturating_add(self.shape.slot_bytes())
    }

    /// A page that nobody has.
    pub(crate) fn take_page(&self) -> Result<Page> {
        loop {
            match self.pages.take() {
                Ok(number) => return Ok(Page(number)),
                Err(limit) => self.grow_pages(limit)?,
            }
        }
    }

    fn take_slot(&self) -> Result<Owned> {
        loop {
            match self.slots.take() {
                Ok(number) => return Ok(number),
                Err(limit) => self.grow_slots(limit)?,
            }
        }
    }

    fn fork(&self, from: &Owned) -> Result<Owned> {
        let to = self.take_slot()?;
        for (memory, layer) in self.layers().iter().zip(&self.shape.layout.layers) {
            self.copy_within(&memory.frontier, self.shape.slot(layer.kind).all, from.number, to.number)?;
        }
        Ok(to)
    }

    /// Doubles the arenas, unless somebody did since they had `limit` pages.
    fn grow_pages(&self, limit: u32) -> Result<()> {
        let words = self.shape.layout.layers.iter().map(|layer| self.shape.page(layer.kind).all);
        self.grow("KV pages", &self.pages, limit.max(PAGES_MIN / 2), limit, words, |memory| &mut memory.arena)
    }

    /// The same for the frontiers.
    fn grow_slots(&self, limit: u32) -> Result<()> {
        let words = self.shape.layout.layers.iter().map(|layer| self.shape.slot(layer.kind).all);
        self.grow("KV windows", &self.slots, limit.max(SLOTS_MIN / 2), limit, words, |memory| &mut memory.frontier)
    }

    /// Makes room for twice `least` entries of these words a layer.
    fn grow(
        &self,
        what: &'static str,
        numbers: &Numbers,
        least: u32,
        limit: u32,
        words: impl Iterator<Item = usize> + Clone,
        buffer: impl Fn(&mut LayerMemory) -> &mut Buffer,
    ) -> Result<()> {
        let mut layers = self.layers.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        if locked(&numbers.0).limit != limit {
            return Ok(());
        }
        let largest = 4 * words.clone().max().unwrap_or(0).max(1) as u64;
        let most = self.gpu.caps().binding_bytes / largest;
        let more = u64::from(2 * least).min(most);
        if more <= u64::from(limit) {
            let info = self.gpu.info();
            return Err(Error::Device(format!(
                "{most} {what} are the most that {info} binds; lower --ctx or end conversations"
            )));
        }
        for (memory, words) in layers.iter_mut().zip(words) {
            let (old, bytes) = (buffer(memory), 4 * more * words as u64);
            // One that is large enough was left by an attempt that found no memory for a later layer.
            if old.bytes() < bytes {
                let new = self.gpu.buffer(what, bytes)?;
                if limit > 0 {
                    self.gpu.copy(old, 0, &new, 0, old.bytes());
                }
                *old = new;
                self.gpu.flush();
            }
        }
        self.gpu.forget_groups();
        numbers.set_limit(more as u32);
        Ok(())
    }

    /// Copies entry `from` of `words` words to entry `to` of the same buffer.
    fn copy_within(&self, buffer: &Buffer, words: usize, from: u32, to: u32) -> Result<()> {
        let count = words as u32 / 4;
        if count == 0 {
            return Ok(());
        }
        let kernel = self.gpu.kernel("copy", &[("WG", COPY_THREADS)], &[COPY])?;
        let grid = [count.div_ceil(COPY_THREADS), 1, 1];
        self.gpu.dispatch(&kernel, &[buffer], &[from * count, to * count, count], grid)
    }

    /// A state of these pages whose slot has yet to be filled.
    pub(crate) fn adopt(self: &Arc<Self>, pages: Vec<Arc<Page>>) -> Result<Cache> {
        Ok(Cache { pool: Arc::clone(self), slot: Some(self.take_slot()?), pages })
    }
}

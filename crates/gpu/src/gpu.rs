//! Buffers, kernels and the recording of commands: all that the operations need of a device.
//!
//! **Invariants.** Commands run in the order in which they were recorded; every dispatch sees what earlier ones wrote.
//! Nothing waits but [`Gpu::download`].

use crate::device::{self, Caps, DeviceInfo, IMMEDIATE_BYTES};
use crate::measure;
use crate::spirv;
use crate::unroll::unrolled;
use ds4_engine::{Error, Result};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Dispatches after which recorded commands are handed to an idle device, so that it works while more are recorded. Each further portion is twice
/// as large, up to the largest: recording is faster than the device, and handing over costs both sides time.
const PORTION_FIRST: usize = 10;
const PORTION_MOST: usize = 160;
/// Most constants and parts of a kernel, and its name.
const KERNEL_KEY_MAX: usize = 48;
/// What is compiled where kernels are only collected.
const NOTHING: &str = "@compute @workgroup_size(1) fn main() {}";
/// Most bindings of a kernel.
pub(crate) const BINDINGS_MAX: usize = 28;
/// Most dispatches that [`Gpu::start_profile`] times.
const PROFILE_DISPATCHES: u32 = 2000;

/// Device memory.
pub struct Buffer {
    id: u32,
    pub(crate) raw: wgpu::Buffer,
}

impl Buffer {
    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.raw.size()
    }
}

/// A compiled WGSL kernel: entry point `main`, storage bindings 0, 1, … of group 0, and immediates.
pub struct Kernel {
    id: u32,
    name: String,
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    bindings: usize,
}

/// Time that one kernel took.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Name of the kernel.
    pub name: String,
    /// Dispatches.
    pub count: usize,
    /// Seconds in all.
    pub seconds: f64,
}

struct Profile {
    queries: wgpu::QuerySet,
    names: Vec<String>,
    /// The kernel that is timed, if not all are.
    only: Option<String>,
}

impl Profile {
    fn times(&self, name: &str) -> bool {
        self.names.len() < PROFILE_DISPATCHES as usize && self.only.as_deref().is_none_or(|only| only == name)
    }
}

struct Recorder {
    encoder: Option<wgpu::CommandEncoder>,
    pass: Option<wgpu::ComputePass<'static>>,
    dispatches: usize,
    /// Dispatches after which they are handed over.
    portion: usize,
    profile: Option<Profile>,
    staging: Option<wgpu::Buffer>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { encoder: None, pass: None, dispatches: 0, portion: PORTION_FIRST, profile: None, staging: None }
    }
}

type GroupKey = [u32; BINDINGS_MAX + 1];

/// An opened device with its kernels.
pub struct Gpu {
    info: DeviceInfo,
    caps: Caps,
    /// Why matrix units of 8×8 are left alone, where there are any.
    units_fault: Option<String>,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    faults: device::Faults,
    kernels: Mutex<HashMap<Box<[usize]>, Arc<Kernel>>>,
    groups: Mutex<HashMap<GroupKey, wgpu::BindGroup>>,
    recorder: Mutex<Recorder>,
    next_id: AtomicU32,
    allocated: AtomicU64,
    dispatched: AtomicU64,
    /// Name and source of every kernel asked for, where none is run.
    collected: Option<Mutex<Vec<(String, String)>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// `f` of every u32 as little-endian bytes.
pub fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The same of f32.
pub fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// f32 of little-endian bytes.
pub fn to_floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

impl Gpu {
    /// Opens device number `choice`, or the best one. Matrix units of 8×8 are used only where they and the tiles on them are right
    /// ([`measure::check_small_matrix_units`]): nobody has run them on every device that has them.
    ///
    /// # Errors
    /// There is none, or it cannot be opened.
    pub fn open(choice: Option<usize>) -> Result<Self> {
        Self::checked(|| Self::unchecked(choice), measure::check_small_matrix_units)
    }

    fn checked(open: impl Fn() -> Result<Self>, check: impl FnOnce(&Self) -> Result<()>) -> Result<Self> {
        let gpu = open()?;
        let fault = if gpu.caps.matrix8 { check(&gpu).err() } else { None };
        let Some(fault) = fault else { return Ok(gpu) };
        drop(gpu);
        // What the check left behind is not the next user's.
        let gpu = open()?;
        let caps = Caps { matrix8: false, ..gpu.caps };
        Ok(Self { caps, units_fault: Some(fault.to_string()), ..gpu })
    }

    fn unchecked(choice: Option<usize>) -> Result<Self> {
        let device::Opened { info, device, queue, faults, hides_width } = device::open(choice)?;
        let mut gpu = Self {
            caps: info.caps,
            units_fault: None,
            info,
            device,
            queue,
            faults,
            kernels: Mutex::default(),
            groups: Mutex::default(),
            recorder: Mutex::default(),
            next_id: AtomicU32::new(1),
            allocated: AtomicU64::new(0),
            dispatched: AtomicU64::new(0),
            collected: None,
        };
        if hides_width {
            // Where that fails, kernels do without subgroups.
            gpu.caps.subgroup = measure::subgroup_width(&gpu).ok().flatten();
            gpu.info.caps.subgroup = gpu.caps.subgroup;
        }
        Ok(gpu)
    }

    /// The same device, on which nothing is computed: kernels for devices of other capabilities are collected, not compiled.
    #[must_use]
    pub fn collecting(self, caps: Caps) -> Self {
        Self { caps, collected: Some(Mutex::default()), ..self }
    }

    /// Name and source of every kernel that was asked for.
    pub fn collected(&self) -> Vec<(String, String)> {
        self.collected.as_ref().map(|all| locked(all).clone()).unwrap_or_default()
    }

    /// The same device, but kernels use no more than `caps`.
    #[must_use]
    pub fn limited(self, caps: Caps) -> Self {
        Self { caps, ..self }
    }

    /// The device.
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Why its matrix units of 8×8 are left alone, where it has some that did not pass the check.
    pub fn units_fault(&self) -> Option<&str> {
        self.units_fault.as_deref()
    }

    /// What kernels may use.
    pub fn caps(&self) -> Caps {
        self.caps
    }

    /// Bytes of all buffers made so far, freed ones included.
    pub fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed)
    }

    /// Dispatches recorded so far, and where kernels are only collected those that would have been.
    pub fn dispatched(&self) -> u64 {
        self.dispatched.load(Ordering::Relaxed)
    }

    fn id(&self) -> u32 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Device memory of `bytes` bytes, rounded up to 16, all zero.
    ///
    /// # Errors
    /// Larger than a binding may be, or out of memory.
    pub fn buffer(&self, what: &'static str, bytes: u64) -> Result<Buffer> {
        let size = bytes.max(16).next_multiple_of(16);
        if size > self.caps.binding_bytes {
            let most = self.caps.binding_bytes;
            return Err(Error::Device(format!("{size} bytes for {what}; {} binds at most {most} at once", self.info)));
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: Some(what), size, usage, mapped_at_creation: false };
        let raw = self.device.create_buffer(&descriptor);
        if pollster::block_on(scope.pop()).is_some() {
            let text = format!("{size} bytes for {what} could not be allocated; lower --ctx or use --backend cpu");
            return Err(Error::Device(text));
        }
        self.allocated.fetch_add(size, Ordering::Relaxed);
        Ok(Buffer { id: self.id(), raw })
    }

    /// A buffer with these bytes.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn buffer_of(&self, what: &'static str, bytes: &[u8]) -> Result<Buffer> {
        let buffer = self.buffer(what, bytes.len() as u64)?;
        self.upload(&buffer, 0, bytes);
        Ok(buffer)
    }

    /// Writes `bytes`, a multiple of four, at `offset`, a multiple of four. What was recorded before does not see them, what is recorded
    /// afterwards does.
    pub fn upload(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) {
        self.flush();
        if bytes.len().is_multiple_of(4) {
            self.queue.write_buffer(&buffer.raw, offset, bytes);
        } else {
            let mut padded = bytes.to_vec();
            padded.resize(bytes.len().next_multiple_of(4), 0);
            self.queue.write_buffer(&buffer.raw, offset, &padded);
        }
    }

    /// The kernel of this source: `constants` as `const NAME: u32`, then the parts. It is compiled when it is first asked for, and found
    /// by its constants and by where its texts lie, which costs less than comparing them.
    ///
    /// # Errors
    /// It does not compile on this device.
    pub fn kernel(
        &self,
        name: &'static str,
        constants: &[(&'static str, u32)],
        parts: &[&'static str],
    ) -> Result<Arc<Kernel>> {
        let mut key = [0; KERNEL_KEY_MAX];
        let used = 1 + constants.len() + parts.len();
        if used > key.len() {
            return Err(Error::Device(format!("kernel {name} has {used} constants and parts")));
        }
        key[0] = name.as_ptr() as usize;
        let pieces =
            constants.iter().map(|(_, value)| *value as usize).chain(parts.iter().map(|part| part.as_ptr() as usize));
        key[1..].iter_mut().zip(pieces).for_each(|(slot, piece)| *slot = piece);
        if let Some(kernel) = locked(&self.kernels).get(&key[..used]) {
            return Ok(Arc::clone(kernel));
        }
        let kernel = Arc::new(self.compile(name, &source(self.caps, constants, parts))?);
        locked(&self.kernels).insert(key[..used].into(), Arc::clone(&kernel));
        Ok(kernel)
    }

    /// The kernel of a text that was put together: whoever asks keeps it.
    ///
    /// # Errors
    /// It does not compile on this device.
    pub fn kernel_of(&self, name: &str, constants: &[(&str, u32)], text: &str) -> Result<Arc<Kernel>> {
        Ok(Arc::new(self.compile(name, &source(self.caps, constants, &[text]))?))
    }

    fn compile(&self, name: &str, source: &str) -> Result<Kernel> {
        let access = bindings(source);
        let source = match &self.collected {
            Some(collected) => {
                locked(collected).push((name.to_owned(), source.to_owned()));
                NOTHING
            }
            None => source,
        };
        // Metal's compiler comes last, and what it refuses counts as internal.
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let needs_own_spirv = source.contains("coop_mat") && self.info.api == wgpu::Backend::Vulkan.to_string();
        let module = if needs_own_spirv {
            let words = spirv::of_wgsl(source, access.len() as u32)
                .map_err(|error| Error::Device(format!("kernel {name} does not compile: {error}")))?;
            let descriptor = wgpu::ShaderModuleDescriptorPassthrough {
                label: Some(name),
                entry_points: Cow::Borrowed(&[wgpu::PassthroughShaderEntryPoint {
                    name: Cow::Borrowed("main"),
                    // Of no use for SPIR-V, which has its own.
                    workgroup_size: (1, 1, 1),
                }]),
                spirv: Some(Cow::Owned(words)),
                ..Default::default()
            };
            // SAFETY: the words are a validated kernel of this crate, as below.
            unsafe { self.device.create_shader_module_passthrough(descriptor) }
        } else {
            let descriptor =
                wgpu::ShaderModuleDescriptor { label: Some(name), source: wgpu::ShaderSource::Wgsl(source.into()) };
            // SAFETY: the kernels are this crate's own. Their loops end, they divide by non-zero constants and immediates, and their
            // indices come from sizes that the host checked; the tests run every kernel with the checks of the driver.
            unsafe { self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
        };
        let entries: Vec<wgpu::BindGroupLayoutEntry> = (0..)
            .zip(&access)
            .map(|(binding, read_only)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage { read_only: *read_only },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout = self
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(name), entries: &entries });
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: IMMEDIATE_BYTES,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &[],
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        let invalid = pollster::block_on(scope.pop());
        let refused = pollster::block_on(internal.pop());
        if let Some(error) = invalid.or(refused) {
            return Err(Error::Device(format!("kernel {name} does not compile: {error}")));
        }
        Ok(Kernel { id: self.id(), name: name.to_owned(), pipeline, layout, bindings: access.len() })
    }

    /// Records `kernel` over `grid` workgroups. Every buffer is bound whole, in the order of the kernel's bindings.
    ///
    /// # Errors
    /// The number of buffers is wrong.
    pub fn dispatch(&self, kernel: &Kernel, buffers: &[&Buffer], immediates: &[u32], grid: [u32; 3]) -> Result<()> {
        if buffers.len() != kernel.bindings
            || buffers.len() > BINDINGS_MAX
            || 4 * immediates.len() > IMMEDIATE_BYTES as usize
        {
            let name = &kernel.name;
            return Err(Error::Device(format!(
                "kernel {name} takes {} buffers of at most {BINDINGS_MAX}, not {}",
                kernel.bindings,
                buffers.len()
            )));
        }
        if grid.contains(&0) {
            return Ok(());
        }
        self.dispatched.fetch_add(1, Ordering::Relaxed);
        if self.collected.is_some() {
            return Ok(());
        }
        let mut key = [0; BINDINGS_MAX + 1];
        key[0] = kernel.id;
        key[1..].iter_mut().zip(buffers).for_each(|(slot, buffer)| *slot = buffer.id);
        let mut groups = locked(&self.groups);
        let group = groups.entry(key).or_insert_with(|| self.group(kernel, buffers));
        let mut recorder = locked(&self.recorder);
        let Recorder { encoder, pass, dispatches, profile, .. } = &mut *recorder;
        let encoder = encoder.get_or_insert_with(|| self.device.create_command_encoder(&Default::default()));
        let pass = pass.get_or_insert_with(|| encoder.begin_compute_pass(&Default::default()).forget_lifetime());
        let stamp = profile.as_mut().filter(|profile| profile.times(&kernel.name));
        pass.set_pipeline(&kernel.pipeline);
        pass.set_bind_group(0, &*group, &[]);
        // Immediates that do not change are constants of the kernel: handing them over costs the device almost half a microsecond.
        if !immediates.is_empty() {
            let mut bytes = [0u8; IMMEDIATE_BYTES as usize];
            bytes.as_chunks_mut().0.iter_mut().zip(immediates).for_each(|(to, value)| *to = value.to_le_bytes());
            pass.set_immediates(0, &bytes[..4 * immediates.len()]);
        }
        if let Some(profile) = stamp {
            let at = 2 * profile.names.len() as u32;
            profile.names.push(kernel.name.clone());
            pass.write_timestamp(&profile.queries, at);
            pass.dispatch_workgroups(grid[0], grid[1], grid[2]);
            pass.write_timestamp(&profile.queries, at + 1);
        } else {
            pass.dispatch_workgroups(grid[0], grid[1], grid[2]);
        }
        *dispatches += 1;
        if recorder.dispatches >= recorder.portion {
            self.submit(&mut recorder);
            recorder.portion = (2 * recorder.portion).min(PORTION_MOST);
        }
        Ok(())
    }

    fn group(&self, kernel: &Kernel, buffers: &[&Buffer]) -> wgpu::BindGroup {
        let entries: Vec<wgpu::BindGroupEntry<'_>> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.raw.as_entire_binding() })
            .collect();
        let layout = &kernel.layout;
        self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    }

    /// Forgets what is known of buffers that are not used any more, so that their memory is freed.
    pub fn forget_groups(&self) {
        locked(&self.groups).clear();
    }

    /// Records a copy; offsets and length are multiples of four.
    pub fn copy(&self, from: &Buffer, from_offset: u64, to: &Buffer, to_offset: u64, bytes: u64) {
        let mut recorder = locked(&self.recorder);
        let encoder = self.encoder(&mut recorder);
        encoder.copy_buffer_to_buffer(&from.raw, from_offset, &to.raw, to_offset, bytes);
    }

    /// The encoder, outside of a pass.
    fn encoder<'a>(&self, recorder: &'a mut Recorder) -> &'a mut wgpu::CommandEncoder {
        recorder.pass = None;
        recorder.encoder.get_or_insert_with(|| self.device.create_command_encoder(&Default::default()))
    }

    /// Hands what was recorded to the device.
    pub fn flush(&self) {
        self.submit(&mut locked(&self.recorder));
    }

    fn submit(&self, recorder: &mut Recorder) {
        recorder.pass = None;
        recorder.dispatches = 0;
        if let Some(encoder) = recorder.encoder.take() {
            self.queue.submit([encoder.finish()]);
        }
    }

    /// Waits for all that was recorded and returns `bytes` bytes from `offset` of `buffer`, all multiples of four.
    ///
    /// # Errors
    /// The device failed.
    pub fn download(&self, buffer: &Buffer, offset: u64, bytes: u64) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(bytes as usize);
        self.download_with(buffer, offset, bytes, |mapped| out.extend_from_slice(mapped))?;
        Ok(out)
    }

    /// As [`Gpu::download`], without a copy.
    ///
    /// # Errors
    /// The device failed.
    pub fn download_with(&self, buffer: &Buffer, offset: u64, bytes: u64, take: impl FnOnce(&[u8])) -> Result<()> {
        let mut recorder = locked(&self.recorder);
        if recorder.staging.as_ref().is_none_or(|staging| staging.size() < bytes) {
            recorder.staging = Some(self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("read back"),
                size: bytes.next_power_of_two().max(1 << 20),
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            }));
        }
        let Some(staging) = recorder.staging.take() else { return Err(self.failed("no staging memory")) };
        self.encoder(&mut recorder).copy_buffer_to_buffer(&buffer.raw, offset, &staging, 0, bytes);
        self.submit(&mut recorder);
        recorder.portion = PORTION_FIRST;
        let slice = staging.slice(..bytes);
        let mapped = Arc::new(Mutex::new(None));
        let told = Arc::clone(&mapped);
        slice.map_async(wgpu::MapMode::Read, move |result| *locked(&told) = Some(result));
        let waited = self.device.poll(wgpu::PollType::wait_indefinitely());
        self.faults.take()?;
        waited.map_err(|error| self.failed(&error.to_string()))?;
        match locked(&mapped).take() {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(self.failed(&error.to_string())),
            None => return Err(self.failed("it did not answer")),
        }
        let view = slice.get_mapped_range().map_err(|error| self.failed(&error.to_string()))?;
        take(&view);
        drop(view);
        staging.unmap();
        recorder.staging = Some(staging);
        Ok(())
    }

    /// Waits for all that was recorded.
    ///
    /// # Errors
    /// The device failed.
    pub fn wait(&self) -> Result<()> {
        self.flush();
        locked(&self.recorder).portion = PORTION_FIRST;
        let waited = self.device.poll(wgpu::PollType::wait_indefinitely());
        self.faults.take()?;
        waited.map(|_| ()).map_err(|error| self.failed(&error.to_string()))
    }

    fn failed(&self, what: &str) -> Error {
        Error::Device(format!("{} failed: {what}", self.info))
    }

    /// From now on dispatches are timed, if the device can: all of them, or those of the kernel of this name alone. Time stamps cost as much as a small
    /// kernel, and hold up what follows.
    pub fn start_profile(&self, only: Option<&str>) {
        if !self.caps.timestamps {
            return;
        }
        self.flush();
        let descriptor = wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count: 2 * PROFILE_DISPATCHES,
        };
        let queries = self.device.create_query_set(&descriptor);
        let only = only.map(str::to_owned);
        locked(&self.recorder).profile = Some(Profile { queries, names: Vec::new(), only });
    }

    /// Ends that and returns the time of each kernel, the longest first.
    ///
    /// # Errors
    /// The device failed.
    pub fn end_profile(&self) -> Result<Vec<Timing>> {
        let mut recorder = locked(&self.recorder);
        let Some(profile) = recorder.profile.take().filter(|profile| !profile.names.is_empty()) else {
            return Ok(Vec::new());
        };
        let count = 2 * profile.names.len() as u32;
        let resolved = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("profile"),
            size: u64::from(count) * 8,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        self.encoder(&mut recorder).resolve_query_set(&profile.queries, 0..count, &resolved, 0);
        drop(recorder);
        let stamps = self.download(&Buffer { id: 0, raw: resolved }, 0, u64::from(count) * 8)?;
        let stamps: Vec<u64> = stamps.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        let unit = f64::from(self.queue.get_timestamp_period()) * 1e-9;
        let mut sums: HashMap<String, (usize, f64)> = HashMap::new();
        for (name, pair) in profile.names.into_iter().zip(stamps.chunks_exact(2)) {
            let sum = sums.entry(name).or_default();
            sum.0 += 1;
            sum.1 += pair[1].saturating_sub(pair[0]) as f64 * unit;
        }
        let mut all: Vec<Timing> =
            sums.into_iter().map(|(name, (count, seconds))| Timing { name, count, seconds }).collect();
        all.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Ok(all)
    }
}

/// The WGSL text of a kernel for a device of these capabilities.
pub fn source(caps: Caps, constants: &[(&str, u32)], parts: &[&str]) -> String {
    let body = parts.concat();
    let mut text = String::new();
    // Extensions come first, and only where they are used.
    if body.contains("f16") && caps.f16 {
        text.push_str("enable f16;\n");
    }
    if body.contains("coop_mat") {
        text.push_str("enable wgpu_cooperative_matrix;\n");
    }
    for (name, value) in constants {
        text.push_str(&format!("const {name}: u32 = {value}u;\n"));
    }
    text.push_str(&body);
    // A compiler for CPUs needs no help, only longer.
    if caps.is_software { text } else { unrolled(&text) }
}

/// Whether each storage binding of a source is read-only, in order.
fn bindings(source: &str) -> Vec<bool> {
    let of_line = |line: &str| line.contains("@binding(").then(|| line.contains("var<storage, read>"));
    source.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selftest::linear::check_tiles;

    fn with_units() -> Result<Gpu> {
        let gpu = Gpu::unchecked(None)?;
        let caps = Caps { matrix8: true, f16: true, ..gpu.caps };
        Ok(gpu.limited(caps))
    }

    #[test]
    fn matrix_units_that_fail_are_left_alone() {
        let broken = |gpu: &Gpu| gpu.kernel("broken", &[], &["fn main( {"]).map(|_| ());
        are_left_alone(broken, "kernel broken does not compile");
        are_left_alone(|_| Err(Error::Device("they give 1, not 2".to_owned())), "they give 1, not 2");
    }

    fn are_left_alone(check: impl FnOnce(&Gpu) -> Result<()>, why: &str) {
        let gpu = Gpu::checked(with_units, check).unwrap();
        assert!(!gpu.caps().matrix8);
        assert!(gpu.units_fault().unwrap().contains(why), "{:?}", gpu.units_fault());
        // And the device is of use.
        assert!(check_tiles(&gpu, None).unwrap().is_right());
    }

    #[test]
    fn matrix_units_that_are_right_are_used() {
        let gpu = Gpu::checked(with_units, |_| Ok(())).unwrap();
        assert!(gpu.caps().matrix8 && gpu.units_fault().is_none());
        let gpu = Gpu::checked(|| Gpu::unchecked(None), |_| panic!("there is nothing to check")).unwrap();
        assert!(gpu.units_fault().is_none());
    }
}

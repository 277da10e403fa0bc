//! A GPU: how it is chosen and what it can do.

use ds4_engine::{Error, Result};
use std::fmt;
use std::sync::{Arc, Mutex};

/// Largest binding used, whatever a device allows: offsets are 32-bit and some drivers fail beyond it.
pub const BINDING_BYTES_MAX: u64 = (1 << 31) - 4096;
/// Bytes of immediates that every kernel may use.
pub const IMMEDIATE_BYTES: u32 = 64;
/// Widths of subgroups that kernels can use.
pub(crate) const SUBGROUP_WIDTHS: std::ops::RangeInclusive<u32> = 4..=128;

/// What a device offers beyond the plain minimum. Kernels choose their variant by these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Width of every subgroup, where it is known and the same for all; a power of two from 4 to 128.
    pub subgroup: Option<u32>,
    /// Half-precision arithmetic.
    pub f16: bool,
    /// Matrix units with 16×16×16 f16 products summed in f32.
    pub matrix16: bool,
    /// Matrix units with 8×8×8 products (Apple).
    pub matrix8: bool,
    /// Time stamps inside a pass.
    pub timestamps: bool,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Most threads of a workgroup, a power of two.
    pub workgroup_threads: u32,
    /// Most buffers of a kernel.
    pub buffers: u32,
    /// Largest storage binding, at most [`BINDING_BYTES_MAX`].
    pub binding_bytes: u64,
    /// Whether the device is a CPU that plays a GPU.
    pub is_software: bool,
}

impl Caps {
    /// The least that every device has: for tests of the fallbacks.
    pub fn plain(self) -> Self {
        Self { subgroup: None, f16: false, matrix16: false, matrix8: false, ..self }
    }
}

/// One device of the machine, for lists.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// Its number for `--device`.
    pub index: usize,
    /// Name as the driver gives it.
    pub name: String,
    /// `Vulkan` or `Metal`.
    pub api: String,
    /// Driver and version.
    pub driver: String,
    /// `discrete GPU`, `integrated GPU`, `software`.
    pub kind: &'static str,
    /// Bytes of memory for it: of the card, or on a Mac what the system recommends as the most. Unknown on software.
    pub memory: Option<u64>,
    /// What it can do.
    pub caps: Caps,
}

impl fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.api, self.kind)
    }
}

fn adapters() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL;
    let instance = wgpu::Instance::new(descriptor);
    pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN | wgpu::Backends::METAL))
}

fn info(index: usize, adapter: &wgpu::Adapter) -> DeviceInfo {
    let info = adapter.get_info();
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete GPU",
        wgpu::DeviceType::IntegratedGpu => "integrated GPU",
        wgpu::DeviceType::VirtualGpu => "virtual GPU",
        wgpu::DeviceType::Cpu => "software",
        wgpu::DeviceType::Other => "other",
    };
    DeviceInfo {
        index,
        name: info.name.clone(),
        api: info.backend.to_string(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        kind,
        memory: memory(adapter),
        caps: caps(adapter, &info),
    }
}

fn caps(adapter: &wgpu::Adapter, info: &wgpu::AdapterInfo) -> Caps {
    let (features, limits) = (adapter.features(), adapter.limits());
    let has = |feature| features.contains(feature);
    let width = info.subgroup_min_size;
    let is_one_width = width == info.subgroup_max_size && width.is_power_of_two() && SUBGROUP_WIDTHS.contains(&width);
    let products = adapter.cooperative_matrix_properties();
    let is_product = |size: u32| {
        use wgpu::CooperativeScalarType::{F16, F32};
        let is_it = |p: &wgpu::CooperativeMatrixProperties| {
            (p.m_size, p.n_size, p.k_size, p.ab_type, p.cr_type) == (size, size, size, F16, F32)
        };
        // Vulkan needs more than the library's own translation (`spirv.rs`).
        let translates = info.backend != wgpu::Backend::Vulkan || has(wgpu::Features::PASSTHROUGH_SHADERS);
        translates
            && has(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
            && has(wgpu::Features::SHADER_F16)
            && products.iter().any(is_it)
    };
    let threads = limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x);
    Caps {
        subgroup: (has(wgpu::Features::SUBGROUP) && is_one_width).then_some(width),
        f16: has(wgpu::Features::SHADER_F16),
        matrix16: is_product(16),
        matrix8: is_product(8),
        timestamps: has(wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES),
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        workgroup_threads: 1 << threads.max(1).ilog2(),
        buffers: limits.max_storage_buffers_per_shader_stage,
        binding_bytes: limits.max_storage_buffer_binding_size.min(BINDING_BYTES_MAX),
        is_software: info.device_type == wgpu::DeviceType::Cpu,
    }
}

#[cfg(not(target_vendor = "apple"))]
fn memory(adapter: &wgpu::Adapter) -> Option<u64> {
    // SAFETY: the handles are only read from, while the adapter lives.
    let adapter = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let instance = adapter.shared_instance().raw_instance();
    // SAFETY: the physical device is one of this instance.
    let all = unsafe { instance.get_physical_device_memory_properties(adapter.raw_physical_device()) };
    // The largest heap that kernels reach without a bus in between.
    let local = |heap: &usize| {
        all.memory_types_as_slice().iter().any(|t| t.heap_index as usize == *heap && t.property_flags.as_raw() & 1 == 1)
    };
    let heaps = all.memory_heaps_as_slice();
    (0..heaps.len()).filter(local).map(|heap| heaps[heap].size).max()
}

#[cfg(target_vendor = "apple")]
fn memory(adapter: &wgpu::Adapter) -> Option<u64> {
    use objc2_metal::MTLDevice;
    // SAFETY: the handle is only read from, while the adapter lives.
    let adapter = unsafe { adapter.as_hal::<wgpu::hal::api::Metal>() }?;
    Some(adapter.raw_device().recommendedMaxWorkingSetSize())
}

/// The devices of this machine, in the order that `--device` counts.
pub fn devices() -> Vec<DeviceInfo> {
    adapters().iter().enumerate().map(|(index, adapter)| info(index, adapter)).collect()
}

/// All that a device says of itself, for reports.
#[derive(Clone, Debug)]
pub struct Details {
    /// Names of its features.
    pub features: Vec<String>,
    /// Limits that kernels come near to.
    pub limits: Vec<(&'static str, u64)>,
    /// Products of matrix units.
    pub matrix_units: Vec<String>,
}

/// Details of device number `index`, if there is one.
pub fn details(index: usize) -> Option<Details> {
    let adapters = adapters();
    let adapter = adapters.get(index)?;
    let (info, l) = (adapter.get_info(), adapter.limits());
    let limits = [
        ("buffer_bytes", l.max_buffer_size),
        ("storage_binding_bytes", l.max_storage_buffer_binding_size),
        ("storage_buffers_per_kernel", l.max_storage_buffers_per_shader_stage.into()),
        ("storage_offset_alignment", l.min_storage_buffer_offset_alignment.into()),
        ("immediate_bytes", l.max_immediate_size.into()),
        ("workgroup_bytes", l.max_compute_workgroup_storage_size.into()),
        ("workgroup_invocations", l.max_compute_invocations_per_workgroup.into()),
        ("workgroup_x", l.max_compute_workgroup_size_x.into()),
        ("workgroups_per_dimension", l.max_compute_workgroups_per_dimension.into()),
        ("subgroup_least", info.subgroup_min_size.into()),
        ("subgroup_most", info.subgroup_max_size.into()),
    ];
    Some(Details {
        features: adapter.features().iter_names().map(|(name, _)| name.to_owned()).collect(),
        limits: limits.to_vec(),
        matrix_units: adapter.cooperative_matrix_properties().iter().map(|unit| format!("{unit:?}")).collect(),
    })
}

/// What went wrong on the device since it was last asked.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Option<String>>>);

impl Faults {
    fn note(&self, what: String) {
        let mut slot = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // The first one is the cause.
        slot.get_or_insert(what);
    }

    pub(crate) fn take(&self) -> Result<()> {
        let fault = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        fault.map_or(Ok(()), |what| Err(Error::Device(what)))
    }
}

/// An opened device.
pub(crate) struct Opened {
    pub(crate) info: DeviceInfo,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) faults: Faults,
    /// Whether subgroups are of one width that only a kernel can tell.
    pub(crate) hides_width: bool,
}

/// Opens device number `choice`; without one the first that is no software, or the first of all.
pub(crate) fn open(choice: Option<usize>) -> Result<Opened> {
    let adapters = adapters();
    let infos: Vec<DeviceInfo> = adapters.iter().enumerate().map(|(index, adapter)| info(index, adapter)).collect();
    let fails = |what: String| Err(Error::Device(what));
    if infos.is_empty() {
        return fails("none was found; install its Vulkan driver, or use --backend cpu".to_owned());
    }
    let index = match choice {
        Some(index) if index < infos.len() => index,
        Some(index) => return fails(format!("there is no device {index}; `ds4 devices` lists {}", infos.len())),
        None => infos.iter().position(|info| !info.caps.is_software).unwrap_or(0),
    };
    let (adapter, info) = (&adapters[index], infos[index].clone());
    if !adapter.features().contains(wgpu::Features::IMMEDIATES) {
        return fails(format!("{info} lacks immediates; update its driver, or use --backend cpu"));
    }
    // For Metal the library tells the widths of all GPUs there are, but those of one are alike.
    let hides_width = info.caps.subgroup.is_none()
        && adapter.get_info().backend == wgpu::Backend::Metal
        && adapter.features().contains(wgpu::Features::SUBGROUP);
    let mut features = wgpu::Features::IMMEDIATES;
    let optional = [
        (info.caps.subgroup.is_some() || hides_width, wgpu::Features::SUBGROUP),
        (info.caps.f16, wgpu::Features::SHADER_F16),
        (info.caps.timestamps, wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES),
        (info.caps.matrix16 || info.caps.matrix8, wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
        (adapter.features().contains(wgpu::Features::PASSTHROUGH_SHADERS), wgpu::Features::PASSTHROUGH_SHADERS),
    ];
    optional.iter().filter(|(has, _)| *has).for_each(|(_, feature)| features |= *feature);
    let limits = wgpu::Limits { max_immediate_size: IMMEDIATE_BYTES, ..adapter.limits() };
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("ds4"),
        required_features: features,
        required_limits: limits,
        // SAFETY: the only experimental feature used is cooperative matrices, in kernels that are tested on the devices they run on.
        experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        trace: wgpu::Trace::Off,
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
        .map_err(|error| Error::Device(format!("{info} cannot be opened: {error}")))?;
    let faults = Faults::default();
    let (on_error, on_loss) = (faults.clone(), faults.clone());
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| on_error.note(error.to_string())));
    device.set_device_lost_callback(move |reason, what| {
        if reason != wgpu::DeviceLostReason::Destroyed {
            on_loss.note(format!("it was lost ({what}); start ds4 again, saved conversations go on"));
        }
    });
    Ok(Opened { info, device, queue, faults, hides_width })
}

//! Large uploads: parts are written by all cores straight into mapped staging memory, while the device copies the ones before.

use crate::gpu::{Buffer, Gpu};
use ds4_engine::{Error, Result};
use rayon::prelude::*;
use std::sync::mpsc;

/// Bytes of one staging buffer.
const STAGING_BYTES: u64 = 64 << 20;
/// Staging buffers: one is filled while another is copied.
const STAGING_BUFFERS: usize = 2;

/// A range of a device buffer that is filled in equal parts; the last one may be shorter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plane {
    /// First byte in the buffer, a multiple of four.
    pub at: u64,
    /// Bytes, a multiple of four.
    pub bytes: u64,
    /// Bytes of one part, a multiple of four.
    pub part: u64,
}

impl Plane {
    /// Bytes before part `i`.
    fn before(&self, i: u64) -> u64 {
        (self.part * i).min(self.bytes)
    }
}

/// Part of a mapped view that another thread may write.
struct Piece<'a>(wgpu::WriteOnly<'a, [u8]>);

// SAFETY: the view is an exclusive reference to plain bytes that may only be written, nothing in it belongs to a thread. (`WriteOnly` says so itself, but for
// sized types only.)
unsafe impl Send for Piece<'_> {}

struct Slot {
    buffer: wgpu::Buffer,
    /// The submission that reads it.
    copied: Option<wgpu::SubmissionIndex>,
}

/// Staging memory that is used again and again.
#[derive(Default)]
pub(crate) struct Staging {
    slots: Vec<Slot>,
    next: usize,
}

impl Staging {
    /// Fills `parts` parts of each of `planes`: `fill(i, …)` writes part `i` of every plane, over zeros.
    ///
    /// # Errors
    /// The device failed.
    pub(crate) fn upload(
        &mut self,
        gpu: &Gpu,
        to: &Buffer,
        planes: &[Plane],
        parts: u64,
        fill: impl Fn(u64, &mut [&mut [u8]]) + Sync,
    ) -> Result<()> {
        let part_bytes: u64 = planes.iter().map(|plane| plane.part).sum();
        let per_slice = (STAGING_BYTES / part_bytes.max(1)).max(1);
        gpu.flush();
        for first in (0..parts).step_by(per_slice as usize) {
            let last = (first + per_slice).min(parts);
            self.slice(gpu, to, planes, first..last, part_bytes, &fill)?;
        }
        Ok(())
    }

    fn slice(
        &mut self,
        gpu: &Gpu,
        to: &Buffer,
        planes: &[Plane],
        parts: std::ops::Range<u64>,
        part_bytes: u64,
        fill: &(impl Fn(u64, &mut [&mut [u8]]) + Sync),
    ) -> Result<()> {
        let failed = |what: &dyn std::fmt::Display| Error::Device(format!("{} failed: {what}", gpu.info()));
        let slot = self.mapped(gpu, part_bytes)?;
        let bytes = |plane: &Plane| plane.before(parts.end) - plane.before(parts.start);
        let total: u64 = planes.iter().map(bytes).sum();
        {
            let mut view = slot.buffer.get_mapped_range_mut(..total).map_err(|error| failed(&error))?;
            let mut rest = view.slice(..);
            let mut tasks: Vec<Vec<Piece<'_>>> = parts.clone().map(|_| Vec::with_capacity(planes.len())).collect();
            for plane in planes {
                for (i, task) in parts.clone().zip(&mut tasks) {
                    let (part, after) = rest.split_at((plane.before(i + 1) - plane.before(i)) as usize);
                    task.push(Piece(part));
                    rest = after;
                }
            }
            let numbered: Vec<_> = parts.clone().zip(tasks).collect();
            // Mapped memory is written once, front to back: it may be uncached.
            numbered.into_par_iter().for_each_init(Vec::new, |scratch: &mut Vec<u8>, (i, task)| {
                scratch.clear();
                scratch.resize(task.iter().map(|part| part.0.len()).sum(), 0);
                let mut pieces = Vec::with_capacity(task.len());
                let mut left = scratch.as_mut_slice();
                for part in &task {
                    let (piece, after) = left.split_at_mut(part.0.len());
                    pieces.push(piece);
                    left = after;
                }
                fill(i, &mut pieces);
                for (mut part, piece) in task.into_iter().zip(&pieces) {
                    part.0.copy_from_slice(piece);
                }
            });
        }
        slot.buffer.unmap();
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut from = 0;
        for plane in planes {
            let n = bytes(plane);
            if n > 0 {
                encoder.copy_buffer_to_buffer(&slot.buffer, from, &to.raw, plane.at + plane.before(parts.start), n);
            }
            from += n;
        }
        slot.copied = Some(gpu.queue.submit([encoder.finish()]));
        Ok(())
    }

    /// The next staging buffer, mapped, with room for one part at least.
    fn mapped(&mut self, gpu: &Gpu, part_bytes: u64) -> Result<&mut Slot> {
        let at = self.next % STAGING_BUFFERS;
        self.next += 1;
        if self.slots.get(at).is_some_and(|slot| slot.buffer.size() < part_bytes) {
            self.slots.clear();
        }
        if at >= self.slots.len() {
            self.slots.push(Slot {
                buffer: gpu.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("staging"),
                    size: STAGING_BYTES.max(part_bytes),
                    usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
                    mapped_at_creation: true,
                }),
                copied: None,
            });
            let slot = self.slots.last_mut();
            return slot.ok_or_else(|| Error::Device("no staging memory".to_owned()));
        }
        let slot = &mut self.slots[at];
        let failed = |what: &dyn std::fmt::Display| Error::Device(format!("{} failed: {what}", gpu.info()));
        let (tell, told) = mpsc::channel();
        slot.buffer.slice(..).map_async(wgpu::MapMode::Write, move |result| {
            // Nobody waits any more where the wait below failed.
            let _ = tell.send(result);
        });
        let wait = wgpu::PollType::Wait { submission_index: slot.copied.take(), timeout: None };
        gpu.device.poll(wait).map_err(|error| failed(&error))?;
        match told.recv() {
            Ok(Ok(())) => Ok(slot),
            Ok(Err(error)) => Err(failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }
}

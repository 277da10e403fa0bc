//! Every kernel, for devices of every kind, is valid and has a translation to Metal's language without errors.

use ds4_engine::Precision;
use ds4_engine::kv::RowFormat;
use ds4_engine::steering::{Scales, Steering};
use ds4_engine::{Config, DrafterOptions, Engine, EngineOptions, Logits, Pairing, Rows, Wish};
use ds4_gguf::File;
use ds4_gpu::{Caps, Gpu, GpuBackend, GpuOptions, measure};
use naga::back::msl;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The sources of all kernels that a model asks for on a device of these capabilities.
fn sources(model: &str, precision: Precision, rows: RowFormat, caps: Caps) -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(model);
    let file = Arc::new(File::open(&path).unwrap());
    let config = Config::from_file(&file).unwrap();
    let context = 8 * (config.top_k + 64);
    let gpu = Gpu::open(None).unwrap().collecting(caps);
    // The demo model's block fits the demo model.
    let block = path.with_file_name("ds4-demo-mtp.gguf");
    let block = block.exists().then(|| Arc::new(File::open(&block).unwrap()));
    let drafter = block.clone().map(|file| DrafterOptions { file, pairing: Pairing::Next });
    let loaded = Box::new(|_| ());
    let options = GpuOptions { precision, rows, chunk: 512, context, drafter: block, tuning: None, loaded };
    let backend = GpuBackend::new(gpu, &file, &config, options).unwrap();
    let options = EngineOptions { context, chunk: 512 };
    let mut engine = Engine::with_drafter(file, config, backend, options, drafter.as_ref()).unwrap();
    let mut direction = vec![0.0; engine.config().embd * engine.config().layers.len()];
    direction.iter_mut().step_by(engine.config().embd).for_each(|v| *v = 1.0);
    let bytes: Vec<u8> = direction.into_iter().flat_map(f32::to_le_bytes).collect();
    let scales = Scales { attention: 1.0, feed_forward: 1.0, layers: None };
    engine.steer(Steering::new(&bytes, engine.config(), scales).unwrap()).unwrap();
    // Long enough for the indexer; then every number of rows that could have kernels of its own.
    let mut sequence = engine.sequence().unwrap();
    let tokens: Vec<u32> = (0..4 * (engine.config().top_k as u32 + 8)).map(|i| i % 100).collect();
    engine.prefill(&mut sequence, &tokens, Logits::Last, &mut |_| (), &|| false).unwrap();
    engine.draft(&mut [Wish { sequence: &mut sequence, next: 7, depth: 3 }]).unwrap();
    let mut others = vec![sequence.clone(); 40];
    for count in [1, 2, 3, 4, 5, 6, 8, 12, 16, 17, 32, 40] {
        let next = [[7]; 40];
        let mut step: Vec<Rows<'_, GpuBackend>> = others
            .iter_mut()
            .zip(&next)
            .take(count)
            .map(|(sequence, tokens)| Rows { sequence, tokens, logits: Logits::Last })
            .collect();
        engine.step(&mut step, &|| false).unwrap();
    }
    let named = |(i, (name, source)): (usize, (String, String))| (format!("{name} {i}"), source);
    engine.backend().gpu().collected().into_iter().enumerate().map(named).collect()
}

#[test]
fn every_kernel_translates_to_metal() {
    let here = Gpu::open(None).unwrap().caps();
    let apple = Caps { subgroup: Some(32), f16: true, matrix8: true, matrix16: false, ..here };
    let nvidia = Caps { subgroup: Some(32), f16: true, matrix8: false, matrix16: true, ..here };
    // As the library describes Macs: it does not know the width of their subgroups.
    let mac = Caps { subgroup: None, is_software: false, ..apple };
    let wide = Caps { subgroup: Some(64), ..apple };
    let narrow = Caps { subgroup: Some(16), ..apple };
    let models = [
        ("models/demo/ds4-demo-q2.gguf", true),
        ("models/demo/ds4-demo-q4.gguf", true),
        ("models/demo/ds4-demo-f16.gguf", true),
        ("crates/engine/tests/data/s-q8.gguf", false),
    ];
    let (mut count, mut on_units) = (0, 0);
    for caps in [apple, mac, nvidia, wide, narrow, here.plain()] {
        for (model, is_trained) in models {
            for precision in [Precision::Exact, Precision::Fast] {
                let rows = if is_trained { RowFormat::Native } else { RowFormat::Unrounded };
                for (name, source) in sources(model, precision, rows, caps) {
                    let text = translate(&name, &source);
                    count += 1;
                    if source.contains("coop_mat8x8") {
                        check_units(&name, &text);
                        on_units += 1;
                    }
                }
            }
        }
    }
    println!("{count} kernels, {on_units} on units of 8×8");
    assert!(count > 100 && on_units > 20);
}

#[test]
fn the_check_of_small_units_translates_to_metal() {
    let gpu = Gpu::open(None).unwrap();
    let caps = Caps { subgroup: None, f16: true, matrix8: true, ..gpu.caps() };
    let gpu = gpu.collecting(caps);
    // Nothing is computed here, which it finds.
    assert!(measure::check_small_matrix_units(&gpu).is_err());
    let [(name, source)] = &gpu.collected()[..] else { panic!("it goes on after what is wrong") };
    let text = translate(name, source);
    assert!(text.contains("simdgroup_multiply_accumulate(d,a,b,c)"), "{text}");
}

/// The units load from and store to memory of single values: Metal converts no pointers to vectors.
fn check_units(name: &str, text: &str) {
    assert!(text.contains("simdgroup_multiply_accumulate(d,a,b,c)"), "{name}");
    assert!(text.contains("simdgroup_half8x8 NagaCooperativeLoad(const threadgroup half* ptr"), "{name}");
    let type_of = |variable: &str| {
        let before = text.split(&format!("& {variable}")).next().unwrap_or_default();
        before.rsplit(' ').next().unwrap_or_default().to_owned()
    };
    for (variable, element) in [("tile_w", "half"), ("tile_x", "half"), ("staged", "float")] {
        let kind = type_of(variable);
        assert!(text.contains(&format!("struct {kind} {{\n    {element} inner[")), "{name}: {variable} is a {kind}");
    }
}

/// The text in Metal's language.
fn translate(name: &str, source: &str) -> String {
    let module =
        naga::front::wgsl::parse_str(source).unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
    let info = validator.validate(&module).unwrap_or_else(|error| panic!("{name}: {error:?}\n{source}"));
    let options = msl::Options { lang_version: (3, 0), fake_missing_bindings: true, ..msl::Options::default() };
    let (text, _) = msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(text.contains("kernel void"), "{name}");
    text
}

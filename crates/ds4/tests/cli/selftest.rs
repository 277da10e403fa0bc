//! `ds4 selftest`. Needs a Vulkan device, which may be software.

use crate::support::{directory, ds4, str};
use serde_json::Value;

#[test]
fn a_device_is_tested_and_the_file_tells() {
    let path = directory("selftest").join("found.json");
    let done = ds4(&["selftest", "--small", "--only", "router", "--out", str(&path)]);
    assert!(done.err.contains(str(&path)), "{}", done.err);
    let text = done.ok();
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert!(text.contains(report["device"]["name"].as_str().unwrap()), "{text}");
    assert_eq!((&report["version"], &report["wrong"], &report["is_whole"]), (&1.into(), &0.into(), &true.into()));
    assert_eq!(report["program"]["version"], env!("CARGO_PKG_VERSION"));
    let cases = report["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        assert_eq!((&case["operation"], &case["state"]), (&"router".into(), &"right".into()), "{case}");
        assert!(case["compared"].as_u64() > Some(0), "{case}");
    }
    assert!(report["device"]["limits"]["buffer_bytes"].as_u64() > Some(0));
    assert!(report["measured"]["copy_bytes_per_s"].as_f64() > Some(0.0));
}

#[test]
fn what_cannot_be_tested_is_told() {
    let path = directory("selftest-none").join("found.json");
    let none = ds4(&["selftest", "--only", "telepathy", "--out", str(&path)]);
    assert_eq!(none.code, Some(1));
    assert!(none.err.contains("telepathy"), "{}", none.err);
    let device = ds4(&["selftest", "--device", "999", "--out", str(&path)]);
    assert_eq!(device.code, Some(1));
    assert!(device.err.contains("999"), "{}", device.err);
    assert_eq!(ds4(&["selftest", "--small", "--full"]).code, Some(2));
}

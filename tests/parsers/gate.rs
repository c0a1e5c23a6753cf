//! What the gate reads out of a body.

use std::sync::{Arc, OnceLock};

use tollgate::catalog::{Catalog, Model, Seconds, Size};
use tollgate::inspect::{Inspector, Plan, Syntax};
use tollgate::policy::{Allow, Group, Key};

use crate::Read;
use crate::shapes::POLICY;

/// Inspects `body`, cut at the offsets `cuts` (in order, each within the body), and answers
/// what the permit is for, as far as it was asked for, or why there is none.
///
/// Panics if the inspector would let out the end of a body, whatever it says to it.
pub fn gate_reads(content_type: &str, body: &[u8], cuts: &[usize]) -> Result<Read, String> {
    let syntax = Syntax::from_content_type(content_type).map_err(|error| error.to_string())?;
    let (plan, key) = plan();
    let mut inspector = Inspector::new(plan, key, syntax, None);
    let mut from = 0;
    let mut safe = 0;
    for &cut in cuts.iter().chain([&body.len()]) {
        inspector
            .push(&body[from..cut])
            .map_err(|error| error.to_string())?;
        assert!(
            (safe..=cut as u64).contains(&inspector.safe()),
            "{safe} bytes were safe, now {} of {cut}",
            inspector.safe()
        );
        safe = inspector.safe();
        from = cut;
    }
    inspector.finish().map_err(|error| error.to_string())?;
    assert!(safe < body.len() as u64, "the end of the body was let out");
    let asked = inspector.asked();
    Ok(Read {
        model: asked.model.map(str::to_owned),
        seconds: asked.seconds.map(str::to_owned),
        size: asked.size.map(str::to_owned),
    })
}

/// A key that may ask for all that the mutants ask for, so that nothing but the syntax and
/// the values decides.
fn plan() -> (Arc<Plan>, Arc<Key>) {
    static PLAN: OnceLock<(Arc<Plan>, Arc<Key>)> = OnceLock::new();
    let make = || {
        let [(_, models), (_, seconds), (_, sizes)] = POLICY;
        let model = |name: &&str| {
            let seconds: Result<Vec<_>, _> = seconds.iter().map(|s| Seconds::parse(s)).collect();
            let price = "0.1".parse().expect("it is a price");
            let sizes: Result<Vec<_>, _> = sizes.iter().map(|s| Size::parse(s, price)).collect();
            // The images of the mutants are of no size that can be asked for.
            let check_image = false;
            Model::new(name, seconds?, "4", sizes?, "720x1280", check_image)
        };
        let models: Result<Vec<_>, _> = models.iter().map(model).collect();
        let catalog = models.and_then(Catalog::new).expect("it holds together");
        let fields = [
            "prompt",
            "input_reference",
            "input_reference[file_id]",
            "input_reference[image_url]",
            "characters",
        ];
        let plan = Plan {
            catalog: Arc::new(catalog),
            fields: fields.into_iter().map(Arc::from).collect(),
            // No bound that hides what the scanner does.
            prompt_chars: 1 << 30,
            seconds_type: tollgate::inspect::SecondsType::String,
            multipart: tollgate::multipart::Limits::default(),
            json: tollgate::json::Limits::default(),
        };
        let group = Group {
            name: "group".into(),
            multiplier: "1".parse().expect("it is a multiplier"),
            currency: "USD".into(),
            limits: Vec::new(),
            channels: None,
        };
        let key = Key {
            name: "key".into(),
            group: Arc::new(group),
            allow: Allow::default(),
            limits: Vec::new(),
            channels: None,
        };
        (Arc::new(plan), Arc::new(key))
    };
    PLAN.get_or_init(make).clone()
}

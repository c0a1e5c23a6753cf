//! The names of a create's fields, and which of them are allowed.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::policy::Param;

const PARAMS: [Param; 3] = [Param::Model, Param::Size, Param::Seconds];
pub(super) const PROMPT: &str = "prompt";
pub(super) const REFERENCE: &str = "input_reference";
pub(super) const REFERENCE_ID: &str = "input_reference[file_id]";
pub(super) const REFERENCE_URL: &str = "input_reference[image_url]";

/// Returns the policy field that is called `name`; `None` if there is none.
pub(super) fn policy_param(name: &str) -> Option<Param> {
    PARAMS.into_iter().find(|param| param.name() == name)
}

/// Returns the constant that is equal to `name`; `None` if no field is known here by that name.
pub(super) fn known(name: &str) -> Option<&'static str> {
    let params = PARAMS.into_iter().map(Param::name);
    let mut known = params.chain([PROMPT, REFERENCE, REFERENCE_ID, REFERENCE_URL]);
    known.find(|known| *known == name)
}

/// Returns whether a body may have the field `name`: in a remix only `prompt`; otherwise `model`, `size`,
/// `seconds`, and the names and members that [`fields`](super::Plan::fields) allows.
pub(super) fn is_allowed(name: &str, fields: &BTreeSet<Arc<str>>, is_remix: bool) -> bool {
    if is_remix {
        return name == PROMPT;
    }
    if policy_param(name).is_some() || fields.contains(name) {
        return true;
    }
    // The members of fields that are known here are allowed only if they are listed.
    let base = name.split('[').next().unwrap_or_default();
    !matches!(base, PROMPT | REFERENCE) && fields.contains(base)
}

/// Returns the names of the allowed fields, for a refusal: see [`is_allowed`].
pub(super) fn allowed(fields: &BTreeSet<Arc<str>>, is_remix: bool) -> Vec<Arc<str>> {
    if is_remix {
        return vec![PROMPT.into()];
    }
    let own = PARAMS.map(|param| Arc::from(param.name()));
    own.into_iter().chain(fields.iter().cloned()).collect()
}

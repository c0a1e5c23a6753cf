//! Tests the order in which channels are tried.

use super::*;

const ACTIVE: Candidate = Candidate {
    open: true,
    serves: 1,
    tier: 0,
    weight: 1,
    load: 0,
    standing: Standing::Active,
    full: false,
};

fn resting(until: Option<u64>) -> Candidate {
    Candidate {
        standing: Standing::Resting {
            until: until.map(Timestamp),
        },
        ..ACTIVE
    }
}

fn on_trial() -> Candidate {
    Candidate {
        standing: Standing::Trial,
        ..ACTIVE
    }
}

#[test]
fn what_fits_best_comes_first() {
    let full = Candidate {
        full: true,
        ..ACTIVE
    };
    let closed = Candidate {
        open: false,
        ..ACTIVE
    };
    let useless = Candidate {
        serves: 0,
        ..ACTIVE
    };
    let tier = |tier| Candidate { tier, ..ACTIVE };
    let second_trial = Candidate {
        tier: 1,
        ..on_trial()
    };
    let serves = |serves| Candidate { serves, ..ACTIVE };
    for (candidates, whole, wanted) in [
        (vec![], true, vec![]),
        (vec![closed, useless], true, vec![]),
        (
            vec![
                resting(None),
                resting(Some(9)),
                resting(Some(5)),
                full,
                tier(3),
            ],
            true,
            vec![4, 3, 2, 1, 0],
        ),
        (vec![tier(2), tier(0), tier(1)], false, vec![1, 2, 0]),
        // A trial is for a create that can still go elsewhere, in its tier.
        (vec![ACTIVE, on_trial()], true, vec![1, 0]),
        (vec![tier(1), second_trial, ACTIVE], true, vec![2, 1, 0]),
        (vec![tier(1), on_trial(), full], false, vec![0, 1, 2]),
        // While the model is not known, a channel that serves more models is less likely to be wrong.
        (vec![serves(1), serves(3), serves(2)], false, vec![1, 2, 0]),
        // The resting channel would have to serve the right model by chance, and fails for certain.
        (
            vec![
                Candidate {
                    serves: 3,
                    ..resting(Some(1))
                },
                serves(1),
            ],
            false,
            vec![1, 0],
        ),
    ] {
        assert_eq!(order(&candidates, 7, whole), wanted, "{candidates:?}");
    }
}

#[test]
fn the_least_busy_of_a_weight_comes_first_and_equals_take_turns() {
    let busy = |load| Candidate { load, ..ACTIVE };
    for turn in 0..10 {
        assert_eq!(order(&[busy(2), busy(0), busy(1)], turn, true), [1, 2, 0]);
        let first = order(&[ACTIVE; 3], turn, true)[0];
        assert_eq!(first, turn % 3);
    }
}

/// Returns how often each candidate comes first, in percent.
fn shares(candidates: &[Candidate], turns: usize) -> Vec<f64> {
    let mut first = vec![0_u32; candidates.len()];
    for turn in 0..turns {
        first[order(candidates, turn, true)[0]] += 1;
    }
    let percent = |count: &u32| f64::from(*count) * 100.0 / turns as f64;
    first.iter().map(percent).collect()
}

#[test]
fn channels_of_a_tier_share_by_weight() {
    let weight = |weight| Candidate { weight, ..ACTIVE };
    let other = Candidate {
        tier: 1,
        weight: 1000,
        ..ACTIVE
    };
    for (candidates, wanted) in [
        (vec![weight(80), weight(20)], vec![80.0, 20.0]),
        (
            vec![weight(50), weight(30), weight(20), other],
            vec![50.0, 30.0, 20.0, 0.0],
        ),
        (
            vec![weight(30), weight(40), weight(30)],
            vec![30.0, 40.0, 30.0],
        ),
        (vec![weight(1), weight(1)], vec![50.0, 50.0]),
        (vec![weight(1000), weight(1)], vec![99.9, 0.1]),
    ] {
        for turns in [200, 1000, 10_000] {
            let found = shares(&candidates, turns);
            for (found, wanted) in found.iter().zip(&wanted) {
                assert!(
                    (found - wanted).abs() <= 1.0,
                    "{found} of {turns}, wanted {wanted}: {candidates:?}"
                );
            }
        }
    }
    // The creates that the first channel of a tier does not take are shared by weight as well.
    let mut second = [0_u32; 3];
    for turn in 0..10_000 {
        let ordered = order(&[weight(50), weight(40), weight(10)], turn, true);
        if ordered[0] == 0 {
            second[ordered[1]] += 1;
        }
    }
    let part = f64::from(second[1]) / f64::from(second[1] + second[2]);
    assert!((part - 0.8).abs() < 0.05, "{second:?}");
}

/// Draws random states of channels, the same ones in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        (mixed(self.0) % most as u64) as usize
    }

    fn candidate(&mut self) -> Candidate {
        Candidate {
            open: self.below(4) > 0,
            serves: self.below(3),
            tier: self.below(3) as u32,
            weight: 1 + self.below(3) as u32 * 40,
            load: self.below(3),
            standing: match self.below(4) {
                0 => Standing::Trial,
                1 => Standing::Resting {
                    until: Some(Timestamp(self.below(4) as u64)),
                },
                2 if self.below(3) == 0 => Standing::Resting { until: None },
                _ => Standing::Active,
            },
            full: self.below(4) == 0,
        }
    }
}

/// Returns whether a candidate may take a create, computed in another way than by the code under test.
fn may_take(candidate: &Candidate) -> bool {
    candidate.open && candidate.serves > 0
}

fn fits(candidate: &Candidate) -> bool {
    let rests = matches!(candidate.standing, Standing::Resting { .. });
    may_take(candidate) && !candidate.full && !rests
}

#[test]
fn no_channel_that_does_not_fit_is_picked_while_another_fits() {
    let mut dice = Dice(1);
    let mut picked = 0;
    for state in 0..100_000 {
        let count = dice.below(7);
        let candidates: Vec<_> = (0..count).map(|_| dice.candidate()).collect();
        let (turn, whole) = (dice.below(1 << 40), dice.below(2) == 0);
        let ordered = order(&candidates, turn, whole);
        let context = || format!("{state}: {candidates:?} {turn} {whole} {ordered:?}");

        let mut tried = ordered.clone();
        tried.sort_unstable();
        let may: Vec<_> = (0..count).filter(|i| may_take(&candidates[*i])).collect();
        assert_eq!(tried, may, "each once that may take it: {}", context());

        let of = |place: usize| candidates[ordered[place]];
        let first_unfit = (0..ordered.len()).find(|place| !fits(&of(*place)));
        let unfit_from = first_unfit.unwrap_or(ordered.len());
        let all_unfit = (unfit_from..ordered.len()).all(|place| !fits(&of(place)));
        assert!(all_unfit, "{}", context());
        if ordered.is_empty() || !fits(&of(0)) {
            continue;
        }
        picked += 1;
        let first = of(0);
        let trial_counts = whole || first.standing == Standing::Trial;
        let lower = candidates.iter().filter(|c| fits(c)).any(|c| {
            let comparable = trial_counts || c.standing == Standing::Active;
            comparable && c.serves >= first.serves && c.tier < first.tier
        });
        assert!(!lower, "a lower tier fits: {}", context());
        if !whole && first.standing == Standing::Trial {
            let active = |c: &Candidate| fits(c) && c.standing == Standing::Active;
            assert!(!candidates.iter().any(active), "{}", context());
        }
    }
    assert!(picked > 50_000, "{picked}");
}

fn addresses(channels: &[&[Candidate]], whole: bool) -> Vec<(usize, usize)> {
    let channels = channels.iter().enumerate().map(|(channel, addresses)| {
        let addresses = addresses.iter().enumerate();
        addresses.map(|(at, c)| (*c, (channel, at))).collect()
    });
    let ordered = order_addresses(channels.collect(), 0, whole);
    ordered.into_iter().map(|(_, place)| place).collect()
}

/// Each address that may take a create is tried once, also where others of its channel are closed, and none
/// that may not.
#[test]
fn no_address_that_does_not_fit_is_picked_while_another_fits() {
    let (mut dice, mut mixed) = (Dice(3), 0);
    for state in 0..100_000 {
        let channels = (0..dice.below(4)).map(|_| {
            let addresses = (0..=dice.below(3)).map(|_| dice.candidate());
            addresses.collect::<Vec<_>>()
        });
        let channels: Vec<_> = channels.collect();
        let shown: Vec<_> = channels.iter().map(Vec::as_slice).collect();
        let whole = dice.below(2) == 0;
        let tried = addresses(&shown, whole);
        let context = || format!("{state}: {channels:?} {whole} {tried:?}");

        let mut all = tried.clone();
        all.sort_unstable();
        let places = shown.iter().enumerate().flat_map(|(channel, addresses)| {
            let may = (0..addresses.len()).filter(|at| may_take(&addresses[*at]));
            may.map(move |at| (channel, at))
        });
        assert_eq!(all, places.collect::<Vec<_>>(), "{}", context());

        let of = |place: &(usize, usize)| &channels[place.0][place.1];
        let fit = tried.iter().take_while(|place| fits(of(place))).count();
        let unfit = tried.iter().skip(fit).all(|place| !fits(of(place)));
        assert!(unfit, "{}", context());
        let is_mixed = |at: &&[Candidate]| at.iter().any(may_take) && !at.iter().all(may_take);
        mixed += u32::from(shown.iter().any(is_mixed));
    }
    assert!(mixed > 30_000, "{mixed}");
}

#[test]
fn a_channel_stands_where_its_best_address_does() {
    let busy = |load| Candidate { load, ..ACTIVE };
    let second = |candidate| Candidate {
        tier: 1,
        ..candidate
    };
    let dead = resting(Some(9));
    for (channels, whole, wanted) in [
        (&[][..], true, vec![]),
        // The least busy address first, and each other one before the next channel.
        (
            &[&[busy(2), busy(1)][..], &[second(ACTIVE)]][..],
            true,
            vec![(0, 1), (0, 0), (1, 0)],
        ),
        // A dead address is ejected alone, and is the last resort.
        (
            &[&[dead, busy(5)], &[second(ACTIVE)]],
            true,
            vec![(0, 1), (1, 0), (0, 0)],
        ),
        (
            &[&[dead, dead], &[second(ACTIVE)]],
            true,
            vec![(1, 0), (0, 0), (0, 1)],
        ),
        // One address is on trial.
        (&[&[ACTIVE, on_trial()]], true, vec![(0, 1), (0, 0)]),
        (&[&[ACTIVE, on_trial()]], false, vec![(0, 0), (0, 1)]),
    ] {
        assert_eq!(addresses(channels, whole), wanted, "{channels:?} {whole}");
    }
}

/// The addresses of a channel do not give it more than its weight.
#[test]
fn weights_are_of_channels_and_not_of_addresses() {
    let heavy = Candidate {
        weight: 80,
        ..ACTIVE
    };
    let light = Candidate {
        weight: 20,
        ..ACTIVE
    };
    let mut of_heavy = 0;
    for turn in 0..5000 {
        let channels = vec![
            vec![(heavy, 'a')],
            vec![(light, 'b'), (light, 'c'), (light, 'd')],
        ];
        of_heavy += u32::from(order_addresses(channels, turn, true)[0].1 == 'a');
    }
    assert!((3950..=4050).contains(&of_heavy), "{of_heavy}");
}

/// A gate with a single address takes a shorter way to the same order.
#[test]
fn a_single_address_is_offered_as_it_is_beside_a_closed_channel() {
    let closed = Candidate {
        open: false,
        ..ACTIVE
    };
    let (mut dice, mut offered) = (Dice(2), 0);
    for _ in 0..10_000 {
        let (only, whole) = (dice.candidate(), dice.below(2) == 0);
        let alone = addresses(&[&[only]], whole);
        assert_eq!(alone, addresses(&[&[only], &[closed]], whole), "{only:?}");
        offered += alone.len();
    }
    assert!((1000..9000).contains(&offered), "{offered}");
}

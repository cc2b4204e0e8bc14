//! Names of keys, key sets, levels and gadgets.

use umbra_ckks::{Gadget, KeyId, KeyKind, KeySetId, Level, ParametersLiteral};

#[test]
fn json_keeps_numbers() {
    let id = KeyId { gadget: Gadget(1), kind: KeyKind::Rotate(-3), level: Level(12) };
    let text = r#"{"gadget":1,"kind":{"rotate":-3},"level":12}"#;
    assert_eq!(serde_json::to_string(&id).unwrap(), text);
    assert_eq!(serde_json::from_str::<KeyId>(text).unwrap(), id);
    let relinearize = r#"{"gadget":0,"kind":"relinearize","level":0}"#;
    assert_eq!(serde_json::from_str::<KeyId>(relinearize).unwrap().kind, KeyKind::Relinearize);
    for wrong in ["65536", "-1", "1.5", "\"1\"", "[1]", "null"] {
        let text = text.replace("12", wrong);
        assert!(serde_json::from_str::<KeyId>(&text).is_err(), "{text}");
    }
}

#[test]
fn names_and_sizes_of_what_does_not_exist() {
    let id = KeyId { gadget: Gadget(1), kind: KeyKind::Relinearize, level: Level(2) };
    assert_eq!(id.to_string(), "the relinearization key (gadget 1, level 2)");
    let literal = ParametersLiteral { log_n: 200, primes: vec![193], levels: vec![vec![0]], gadgets: vec![] };
    assert_eq!((id.primes(&literal).len(), id.dnum(&literal), id.bytes(&literal)), (0, 0, 0));
}

#[test]
fn hexadecimal_and_back() {
    let id = KeySetId::from_bytes(std::array::from_fn(|i| 0xf0 ^ (i as u8 * 17)));
    assert_eq!(id.to_string(), "f0e1d2c3b4a5968778695a4b3c2d1e0f");
    assert_eq!(KeySetId::from_hex(&id.to_string()), Some(id));
    assert_eq!(KeySetId::from_hex(&id.to_string().to_uppercase()), Some(id));
    for wrong in ["", "f0", "g0e1d2c3b4a5968778695a4b3c2d1e0f", "f0e1d2c3b4a5968778695a4b3c2d1e0f00", "é"] {
        assert_eq!(KeySetId::from_hex(wrong), None, "{wrong}");
        assert!(serde_json::from_str::<KeySetId>(&format!("\"{wrong}\"")).is_err(), "{wrong}");
    }
    let text = format!("\"{id}\"");
    assert_eq!(serde_json::to_string(&id).unwrap(), text);
    assert_eq!(serde_json::from_str::<KeySetId>(&text).unwrap(), id);
    assert_eq!(serde_json::from_reader::<_, KeySetId>(text.as_bytes()).unwrap(), id);
}

#[test]
fn what_does_not_fit_names_nothing() {
    assert_eq!((Level::new(3), Gadget::new(4)), (Level(3), Gadget(4)));
    assert_eq!((Level::new(1 << 16), Gadget::new(usize::MAX)), (Level(u16::MAX), Gadget(u16::MAX)));
    assert_eq!((Level(7).index(), Gadget(8).index(), Level(9).to_string()), (7, 8, "9".to_string()));
}

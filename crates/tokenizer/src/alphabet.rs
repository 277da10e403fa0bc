//! The byte alphabet (`spec/tokenizer.md` §2): every byte has one printable character, and tokens and
//! merges are written in those characters.

/// First code point for the 68 bytes that do not stand for themselves, taken in increasing order.
const SUBSTITUTE_FIRST: u32 = 0x100;

/// One past the last code point in use.
const SUBSTITUTE_END: usize = 0x144;

/// Character of each byte.
pub(crate) static CHAR_OF_BYTE: [char; 256] = build_char_of_byte();

/// Byte of each code point below [`SUBSTITUTE_END`]; the bytes' 68 own code points have none.
static BYTE_OF_CODE_POINT: [Option<u8>; SUBSTITUTE_END] = build_byte_of_code_point();

/// The byte that `c` stands for, if it belongs to the alphabet.
pub(crate) fn byte_of_char(c: char) -> Option<u8> {
    BYTE_OF_CODE_POINT.get(c as usize).copied().flatten()
}

const fn stands_for_itself(byte: u8) -> bool {
    matches!(byte, 33..=126 | 161..=172 | 174..=255)
}

const fn build_char_of_byte() -> [char; 256] {
    let mut chars = ['\0'; 256];
    let mut substitute = SUBSTITUTE_FIRST;
    let mut byte = 0;
    while byte < 256 {
        let code_point = if stands_for_itself(byte as u8) {
            byte as u32
        } else {
            substitute += 1;
            substitute - 1
        };
        chars[byte] = match char::from_u32(code_point) {
            Some(c) => c,
            None => panic!("evaluated at compile time: the alphabet lies below the surrogates"),
        };
        byte += 1;
    }
    chars
}

const fn build_byte_of_code_point() -> [Option<u8>; SUBSTITUTE_END] {
    let mut bytes = [None; SUBSTITUTE_END];
    let mut byte = 0;
    while byte < 256 {
        bytes[CHAR_OF_BYTE[byte] as usize] = Some(byte as u8);
        byte += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_the_round_trip() {
        for byte in 0..=255 {
            assert_eq!(byte_of_char(CHAR_OF_BYTE[usize::from(byte)]), Some(byte));
        }
    }

    #[test]
    fn known_characters() {
        assert_eq!(CHAR_OF_BYTE[usize::from(b' ')], '\u{120}');
        assert_eq!(CHAR_OF_BYTE[usize::from(b'\n')], '\u{10a}');
        assert_eq!(CHAR_OF_BYTE[usize::from(b'a')], 'a');
        assert_eq!(CHAR_OF_BYTE[173], '\u{143}');
        assert_eq!(CHAR_OF_BYTE[174], '\u{ae}');
    }

    #[test]
    fn characters_outside_the_alphabet_have_no_byte() {
        for c in [' ', '\n', '\u{ad}', '\u{144}', '\u{2581}', '\u{ff5c}', '\u{10ffff}'] {
            assert_eq!(byte_of_char(c), None, "{c:?}");
        }
    }
}

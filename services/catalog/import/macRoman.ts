// The characters of Mac OS Roman from 0x80 to 0xFF.
const MAC_ROMAN =
  "ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø¿¡¬√ƒ≈∆«»…\u00a0ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄€‹›ﬁﬂ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\uf8ffÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ";
const windows1252 = new TextDecoder("windows-1252");

/**
 * Mends a text that was written as Windows-1252 and read as Mac OS Roman: `AstÈrix` is `Astérix`.
 * A text with a character that Mac OS Roman lacks was not read that way, and stays as it is.
 */
export function mendMacRoman(text: string): string {
  const bytes: number[] = [];
  for (const character of text) {
    const code = character.codePointAt(0)!;
    const index = MAC_ROMAN.indexOf(character);
    if (code < 0x80) bytes.push(code);
    else if (index >= 0) bytes.push(0x80 + index);
    else return text;
  }
  return windows1252.decode(Uint8Array.from(bytes));
}

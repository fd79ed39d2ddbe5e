// Make a picture of a page smaller: at most 256 colors, the nearest for all others, one byte a pixel.
// Takes and returns a PNG in base64.
async (source) => {
  const bytes = Uint8Array.from(atob(source), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const pixels = new Uint32Array(context.getImageData(0, 0, bitmap.width, bitmap.height).data.buffer);

  // The colors that are used most, each of them unlike those before it: the shades at the edges of letters are many.
  const counts = new Map();
  pixels.forEach((pixel) => counts.set(pixel, (counts.get(pixel) || 0) + 1));
  const parts = (pixel) => [pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255];
  const distance = (one, other) => one.reduce((sum, part, i) => sum + (part - other[i]) ** 2, 0);
  const palette = [];
  const UNLIKE = 60;
  for (const [pixel] of [...counts].sort((one, other) => other[1] - one[1])) {
    const color = parts(pixel);
    if (palette.length < 256 && palette.every((known) => distance(known, color) > UNLIKE)) palette.push(color);
  }
  const places = new Map();
  for (const pixel of counts.keys()) {
    const color = parts(pixel);
    let best = 0;
    palette.forEach((known, place) => distance(known, color) < distance(palette[best], color) && (best = place));
    places.set(pixel, best);
  }

  // A filter byte before each row: none, which is best for a palette.
  const rows = new Uint8Array((bitmap.width + 1) * bitmap.height);
  for (let y = 0; y < bitmap.height; y++) {
    for (let x = 0; x < bitmap.width; x++) rows[y * (bitmap.width + 1) + x + 1] = places.get(pixels[y * bitmap.width + x]);
  }
  const packed = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const data = new Uint8Array(await new Response(packed).arrayBuffer());

  const table = Uint32Array.from({ length: 256 }, (_, n) => {
    for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
    return n;
  });
  const crc = (content) => ~content.reduce((sum, byte) => table[(sum ^ byte) & 255] ^ (sum >>> 8), ~0) >>> 0;
  const number = (value) => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
  const chunk = (name, content) => {
    const named = new Uint8Array([...[...name].map((letter) => letter.charCodeAt(0)), ...content]);
    return new Uint8Array([...number(content.length), ...named, ...number(crc(named))]);
  };
  const header = [...number(bitmap.width), ...number(bitmap.height), 8, 3, 0, 0, 0];
  const png = new Blob([
    new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]),
    chunk("IHDR", header),
    chunk("PLTE", palette.flat()),
    chunk("IDAT", data),
    chunk("IEND", []),
  ]);
  const made = new Uint8Array(await png.arrayBuffer());
  let text = "";
  for (let i = 0; i < made.length; i += 32768) text += String.fromCharCode(...made.subarray(i, i + 32768));
  return btoa(text);
}

// A picture out of the clipboard, where a button asks for it; Ctrl+V brings its own.

import { Refusal } from "./server.js";

export const NOTHING = "There is no picture in the clipboard. Copy one, then paste it here.";
export const canPaste = () => Boolean(navigator.clipboard?.read);

export async function pasted() {
  let items;
  try {
    items = await navigator.clipboard.read();
  } catch (error) {
    throw new Refusal(error.name === "NotAllowedError" ? "The clipboard was not allowed. Press Ctrl+V instead." : NOTHING);
  }
  for (const item of items) {
    const type = item.types.find((each) => each.startsWith("image/"));
    if (type) return new File([await item.getType(type)], "clipboard", { type });
  }
  throw new Refusal(NOTHING);
}

/** Short messages that say what was done. */

import { signal } from "@preact/signals";

const notice = signal("");
let timer: number | undefined;

/** Tell the reader what was done. */
export function tell(text: string): void {
  notice.value = text;
  window.clearTimeout(timer);
  timer = window.setTimeout(() => (notice.value = ""), 6000);
}

export function Notices() {
  return (
    <div class="notices" role="status" aria-label="Notice" aria-live="polite">
      {notice.value && <p>{notice.value}</p>}
    </div>
  );
}

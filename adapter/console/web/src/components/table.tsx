/** A table of many lines, of which only those in view are rendered. */

import type { ComponentChildren, JSX } from "preact";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { useKeys } from "../keyboard";

/** The height of a line in pixels; the stylesheet has the same. */
const LINE = 34;
const BEYOND = 12;

interface Column<T> {
  title: string;
  /** A class name; the stylesheet hides some on small screens. */
  name: string;
  cell: (row: T) => ComponentChildren;
}

interface Props<T> {
  label: string;
  rows: T[];
  columns: Column<T>[];
  id: (row: T) => string;
  onOpen: (row: T) => void;
  selected?: Set<string>;
  onSelect?: (ids: Set<string>) => void;
}

export function BigTable<T>({ label, rows, columns, id, onOpen, selected, onSelect }: Props<T>) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(800);
  // The next key may be pressed before the next rendering: what the keys read is not state.
  const active = useRef<string | undefined>(undefined);
  const [, draw] = useState<string>();
  const place = () => rows.findIndex((row) => id(row) === active.current);

  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => entry && setHeight(entry.contentRect.height));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);

  const toggle = (each: string) => {
    if (!selected || !onSelect) return;
    const next = new Set(selected);
    if (!next.delete(each)) next.add(each);
    onSelect(next);
  };
  const move = (by: number) => {
    const next = Math.min(rows.length - 1, Math.max(0, place() < 0 ? 0 : place() + by));
    const row = rows[next];
    if (!row) return;
    active.current = id(row);
    draw(active.current);
    const start = next * LINE;
    if (start < box.current!.scrollTop) box.current!.scrollTop = start;
    if (start + 2 * LINE > box.current!.scrollTop + height) box.current!.scrollTop = start + 2 * LINE - height;
  };
  const keys = useMemo(
    () => ({
      j: () => move(1),
      k: () => move(-1),
      x: () => place() >= 0 && toggle(active.current!),
      o: () => place() >= 0 && onOpen(rows[place()]!),
    }),
    [rows, selected, height],
  );
  useKeys(keys);

  const first = Math.max(0, Math.floor(top / LINE) - BEYOND);
  const last = Math.min(rows.length, Math.ceil((top + height) / LINE) + BEYOND);
  const all = rows.length > 0 && rows.every((row) => selected?.has(id(row)));
  return (
    <div
      class="table"
      ref={box}
      onScroll={(event) => setTop(event.currentTarget.scrollTop)}
      tabIndex={0}
      role="region"
      aria-label={label}
    >
      <table aria-rowcount={rows.length + 1} aria-label={label}>
        <thead>
          <tr aria-rowindex={1}>
            {selected && (
              <th class="pick">
                <input
                  type="checkbox"
                  aria-label="Select all lines of this page"
                  checked={all}
                  onChange={() => onSelect?.(all ? new Set() : new Set(rows.map(id)))}
                />
              </th>
            )}
            {columns.map((column) => (
              <th key={column.name} class={column.name} scope="col">
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          <Spacer lines={first} />
          {rows.slice(first, last).map((row, index) => (
            <tr
              key={id(row)}
              aria-rowindex={first + index + 2}
              class={id(row) === active.current ? "active" : undefined}
            >
              {selected && (
                <td class="pick">
                  <input
                    type="checkbox"
                    aria-label={`Select ${id(row)}`}
                    checked={selected.has(id(row))}
                    onChange={() => toggle(id(row))}
                  />
                </td>
              )}
              {columns.map((column) => (
                <td key={column.name} class={column.name}>
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
          <Spacer lines={rows.length - last} />
        </tbody>
      </table>
    </div>
  );
}

function Spacer({ lines }: { lines: number }): JSX.Element | null {
  return lines > 0 ? <tr aria-hidden="true" style={{ height: `${lines * LINE}px` }} /> : null;
}

/** The form that says which invocations are listed. Its values are the parameters of the page's URL. */

import { useLayoutEffect, useState } from "preact/hooks";
import type { Services } from "../api/schema";
import { useLive } from "../live";

const STATUSES = ["live", "scheduled", "queued", "ready", "running", "suspended", "backing-off", "paused", "completed"];
const OUTCOMES = ["completed", "failed", "cancelled", "killed"];

/** Ages, in seconds. */
export const AGES = { "15m": 900, "1h": 3600, "1d": 86_400, "7d": 604_800 };

export const LIMITS = ["50", "200", "1000"];

interface FormProps {
  given: URLSearchParams;
  /** Sets a parameter to some values; none of them: removes it. */
  set: (name: string, values: string[]) => void;
  /** The field that a shortcut leads to. */
  field: { current: HTMLInputElement | null };
}

export function FilterForm({ given, set, field }: FormProps) {
  const { data } = useLive<Services>("/admin/services");
  const services = data?.services.map((each) => each.name) ?? [];
  const deployments = [...new Set(data?.services.map((each) => each.deployment).filter(Boolean))];
  const choose = (name: string, label: string, values: string[], none: string) => (
    <label>
      {label}
      <select value={given.get(name) ?? ""} onChange={(event) => set(name, [event.currentTarget.value])}>
        <option value="">{none}</option>
        {values.map((value) => (
          <option key={value}>{value}</option>
        ))}
      </select>
    </label>
  );
  const check = (name: string, label: string, values: string[]) => (
    <Choices label={label} values={values} chosen={given.getAll(name)} onChosen={(chosen) => set(name, chosen)} />
  );
  const write = (name: string, label: string, hint: string, known: string[] = []) => (
    <Field
      label={label}
      hint={hint}
      known={known}
      value={given.getAll(name).join(" ")}
      onWritten={(value) => set(name, value.split(/[\s,]+/))}
      field={name === "text" ? field : undefined}
    />
  );
  return (
    <form class="filters" role="search" aria-label="Filter" onSubmit={(event) => event.preventDefault()}>
      {write("text", "Search", "the beginning of an id, or words of the line")}
      {write("service", "Service", "one or several names", services)}
      {write("handler", "Handler", "one or several names")}
      <Field label="Key" hint="a key" value={given.get("key") ?? ""} onWritten={(value) => set("key", [value])} />
      {check("status", "Status", STATUSES)}
      {check("outcome", "Outcome", OUTCOMES)}
      {choose("within", "Created within", Object.keys(AGES), "any time")}
      {choose("before", "Older than", Object.keys(AGES), "any age")}
      {write("deployment", "Deployment", "one or several, such as shop:7", deployments)}
      {choose("limit", "Lines", LIMITS.slice(1), LIMITS[0]!)}
    </form>
  );
}

interface ChoicesProps {
  label: string;
  values: string[];
  chosen: string[];
  onChosen: (values: string[]) => void;
}

/** Several of some values. The list opens below its label, and closes when the focus leaves it. */
function Choices({ label, values, chosen, onChosen }: ChoicesProps) {
  return (
    <details
      class="choices"
      onFocusOut={(event) => {
        const next = event.relatedTarget;
        if (next instanceof Node && !event.currentTarget.contains(next)) event.currentTarget.open = false;
      }}
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        event.currentTarget.open = false;
        event.currentTarget.querySelector("summary")?.focus();
      }}
    >
      <summary>
        {label}
        <span>{chosen.join(", ") || "any"}</span>
      </summary>
      <fieldset>
        <legend>{label}, one of</legend>
        {values.map((value) => (
          <label key={value} class="check">
            <input
              type="checkbox"
              checked={chosen.includes(value)}
              onChange={(event) =>
                onChosen(event.currentTarget.checked ? [...chosen, value] : chosen.filter((each) => each !== value))
              }
            />
            {value}
          </label>
        ))}
      </fieldset>
    </details>
  );
}

interface FieldProps {
  label: string;
  hint: string;
  value: string;
  onWritten: (value: string) => void;
  /** Values to offer. */
  known?: string[];
  field?: { current: HTMLInputElement | null };
}

/** A field that is written in peace: its value changes outside when it is left, or on Enter. */
function Field({ label, hint, value, onWritten, known = [], field }: FieldProps) {
  const [draft, setDraft] = useState(value);
  useLayoutEffect(() => setDraft(value), [value]);
  const list = known.length ? `known-${label}` : undefined;
  return (
    <label>
      {label}
      <input
        type="search"
        title={hint}
        value={draft}
        list={list}
        ref={field}
        onInput={(event) => setDraft(event.currentTarget.value)}
        onChange={(event) => onWritten(event.currentTarget.value.trim())}
      />
      {list && (
        <datalist id={list}>
          {known.map((each) => (
            <option key={each} value={each} />
          ))}
        </datalist>
      )}
    </label>
  );
}

// What is usually the trouble with a store, a mount and a system, looked for,
// each with the command that mends it. What is said is fit for a bug report: it
// names no file, no directory and no host; the two that the user named are
// STORE and DIR.
//
// Thread-safe: free functions without state, and values.

#ifndef VARVE_TOOLS_VARVE_DOCTOR_H_
#define VARVE_TOOLS_VARVE_DOCTOR_H_

#include <string>
#include <utility>
#include <vector>

namespace varve::tools {

struct Finding {
  enum class Level {
    kOk,
    kNote,     // to be known, and no trouble by itself
    kTrouble,  // to be mended
  };
  Level level = Level::kOk;
  std::string check;  // what was looked at; names that scripts rely on
  std::string text;
  std::string mend;  // the command, or what to do
};

class Findings {
 public:
  void Ok(std::string check, std::string text) {
    Add({Finding::Level::kOk, std::move(check), std::move(text), ""});
  }
  void Note(std::string check, std::string text, std::string mend = "") {
    Add({Finding::Level::kNote, std::move(check), std::move(text),
         std::move(mend)});
  }
  void Trouble(std::string check, std::string text, std::string mend) {
    Add({Finding::Level::kTrouble, std::move(check), std::move(text),
         std::move(mend)});
  }

  const std::vector<Finding>& list() const { return list_; }
  bool has_trouble() const {
    for (const Finding& finding : list_) {
      if (finding.level == Finding::Level::kTrouble) return true;
    }
    return false;
  }

 private:
  void Add(Finding finding) { list_.push_back(std::move(finding)); }

  std::vector<Finding> list_;
};

// Whether this system can mount: /dev/fuse, fusermount3, /etc/fuse.conf, the
// kernel.
void ExamineSystem(Findings& findings);

// A store that need not exist. Reads it, and changes nothing.
void ExamineStore(const std::string& path, Findings& findings);

// A directory where a store should be mounted. Waits some seconds for the
// daemon's answers; forks.
void ExamineMount(const std::string& path, Findings& findings);

// The message without the names that it may have: `names` are replaced by
// `placeholder`; if there is another name left, none of it is.
std::string WithoutNames(std::string message,
                         const std::vector<std::string>& names,
                         const std::string& placeholder);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_DOCTOR_H_
